package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
)

// maxSocketPathBytes is the size of sun_path in unix(7), less its final zero.
const maxSocketPathBytes = 107

func etcdSocket(dir string) string { return filepath.Join(dir, "etcd.sock") }

// startEtcd starts a single-member etcd that only this directory's owner can
// reach. Writes are not synced to disk: the data need not survive the machine.
func startEtcd(ctx context.Context, dir string) (*embed.Etcd, error) {
	client, peer := etcdSocket(dir), filepath.Join(dir, "peer.sock")
	if len(client) > maxSocketPathBytes || len(peer) > maxSocketPathBytes {
		return nil, fmt.Errorf("etcd's socket path %s is longer than the %d bytes that the system allows; use a shorter TMPDIR or instance name", client, maxSocketPathBytes)
	}
	clientURL, peerURL := url.URL{Scheme: "unix", Path: client}, url.URL{Scheme: "unix", Path: peer}
	cfg := embed.NewConfig()
	cfg.Name = "sandbox"
	cfg.Dir = filepath.Join(dir, "etcd")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{clientURL}, []url.URL{clientURL}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peerURL}, []url.URL{peerURL}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.UnsafeNoFsync = true
	cfg.EnableGRPCGateway = false
	cfg.LogLevel = "error"
	cfg.LogOutputs = []string{"stderr"}
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd did not start: %w", err)
	}
	select {
	case <-server.Server.ReadyNotify():
		return server, nil
	case err := <-server.Err():
		server.Close()
		return nil, fmt.Errorf("etcd stopped before it was ready: %w", err)
	case <-server.Server.StopNotify():
		server.Close()
		return nil, errors.New("etcd stopped before it was ready")
	case <-ctx.Done():
		server.Close()
		return nil, fmt.Errorf("etcd was not ready in time: %w", ctx.Err())
	}
}
