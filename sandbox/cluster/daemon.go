package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubectl-triton/kubectl-triton/sandbox/controlplane"
	"github.com/kubectl-triton/kubectl-triton/sandbox/node"
	"github.com/kubectl-triton/kubectl-triton/sandbox/process"
)

// shutdownLimit bounds how long the nodes may take to end their pods' processes.
const shutdownLimit = 5 * time.Second

const (
	bringUpGCPercent = 400
	defaultGCPercent = 100
)

// daemon is one running instance.
type daemon struct {
	instance Instance
	options  Options
	binDir   string
	report   *reporter
	log      *slog.Logger

	control  *controlplane.ControlPlane
	network  *node.Network
	proxyURL string
	starter  *process.Starter
	nodes    []*node.Agent
	charts   *chartRepository

	chartsURL string
	admin     *rest.Config
}

// Serve is the daemon: it brings the instance in dir up, tells the command
// that started it, and runs until ctx ends or a component fails.
func Serve(ctx context.Context, executable, dir string) error {
	// Only this process may hold the lock and the pipe, not its children.
	syscall.CloseOnExec(progressFD)
	syscall.CloseOnExec(lockFD)
	progress := os.NewFile(progressFD, "progress")
	instance := Instance{Name: filepath.Base(dir)[len(directoryPrefix()):], Dir: dir}
	r, err := instance.readRecord()
	if err != nil {
		return err
	}
	if r.Daemon, err = process.Identify(os.Getpid()); err != nil {
		return err
	}
	r.Started = time.Now()
	if err := instance.writeRecord(r); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d := &daemon{
		instance: instance, options: r.Options, binDir: filepath.Dir(executable),
		report: &reporter{w: progress, orphan: func() { stop(errAbandoned) }},
		log:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	starter, err := process.NewStarter(instance.pidsDir())
	if err != nil {
		return err
	}
	d.starter = starter

	// A bring-up allocates much and keeps most of it: collecting less often
	// saves a fifth of its processor time.
	usual := debug.SetGCPercent(bringUpGCPercent)
	if usual < 0 {
		usual = defaultGCPercent // a build's environment turns collecting off, which is not for a daemon
	}
	running, end := context.WithCancel(ctx)
	defer end()
	failed := make(chan error, 8)
	bringUp, cancel := context.WithTimeout(running, r.Options.Timeout)
	err = d.bringUp(bringUp, running, failed)
	cancel()
	if err == nil {
		r.Ready, r.ChartsURL = time.Now(), d.chartsURL
		err = instance.writeRecord(r)
	}
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errAbandoned) {
			err = cause
		}
		d.log.Error("the bring-up failed", "error", err)
		end()
		d.awaitNodes(failed)
		if errors.Is(err, errAbandoned) {
			return errors.Join(err, instance.erase())
		}
		d.report.send(message{Error: err.Error()})
		return err
	}
	debug.SetGCPercent(usual)
	d.report.send(message{Ready: true})
	if err := progress.Close(); err != nil {
		return fmt.Errorf("cannot close the pipe to the command that started the daemon: %w", err)
	}
	d.log.Info("the instance is ready")

	select {
	case <-ctx.Done():
		d.log.Info("the instance is ending")
		err = nil
	case err = <-d.control.Failed():
	case err = <-failed:
	}
	if err != nil {
		d.log.Error("the instance failed", "error", err)
	}
	end()
	d.awaitNodes(failed)
	// The control plane's state is thrown away with its directory: it ends with this process.
	return err
}

var errAbandoned = errors.New("the command that started the instance is gone")

// bringUp starts everything; what it starts lives as long as running.
func (d *daemon) bringUp(ctx, running context.Context, failed chan<- error) error {
	var err error
	config := controlplane.Config{Dir: d.instance.Dir, Step: func(s string) { d.report.step("%s", s) }}
	if d.options.Audit {
		config.AuditLog = d.instance.AuditLog()
	}
	d.control, err = controlplane.Start(ctx, config)
	if err != nil {
		return err
	}
	kubeconfig, err := d.control.Kubeconfig(controlplane.Identity{CommonName: "sandbox-admin", Organizations: []string{"system:masters"}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.instance.Kubeconfig(), kubeconfig, 0o600); err != nil {
		return fmt.Errorf("cannot store the kubeconfig: %w", err)
	}
	if d.admin, err = d.control.ClientConfig(controlplane.Identity{CommonName: "sandbox-daemon", Organizations: []string{"system:masters"}}); err != nil {
		return err
	}
	if err := d.startNetwork(failed); err != nil {
		return err
	}
	if err := d.startNodes(running, failed); err != nil {
		return err
	}
	if err := d.startServices(running, failed); err != nil {
		return err
	}
	d.report.step("%s registering", countNodes(d.options))
	workloads, err := newWorkloads(d.admin, d.options, d.network)
	if err != nil {
		return err
	}
	if err := d.untilFailure(ctx, func(ctx context.Context) error { return workloads.apply(ctx) }); err != nil {
		return err
	}
	d.report.step("workloads are applied")
	return d.untilFailure(ctx, func(ctx context.Context) error { return workloads.awaitReady(ctx, d.report.step) })
}

// untilFailure runs f, which ends early when a component of the control plane stops.
func (d *daemon) untilFailure(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watching := make(chan error, 1)
	go func() {
		var failure error
		select {
		case failure = <-d.control.Failed():
			cancel(failure)
		case <-ctx.Done():
		}
		watching <- failure
	}()
	err := f(ctx)
	cancel(nil)
	if failure := <-watching; failure != nil {
		return failure
	}
	return err
}

func countNodes(o Options) string {
	count := func(n int, kind string) string {
		if n == 1 {
			return "1 " + kind + " node"
		}
		return fmt.Sprintf("%d %s nodes", n, kind)
	}
	switch {
	case o.GPUNodes == 0:
		return count(o.CPUNodes, "CPU")
	case o.CPUNodes == 0:
		return count(o.GPUNodes, "GPU")
	}
	return count(o.CPUNodes, "CPU") + " and " + count(o.GPUNodes, "GPU")
}

// startNetwork serves the pod network as an HTTP proxy for Prometheus.
func (d *daemon) startNetwork(failed chan<- error) error {
	d.network = node.NewNetwork()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot open a loopback port for the pod network's proxy: %w", err)
	}
	d.proxyURL = "http://" + listener.Addr().String()
	server := &http.Server{Handler: d.network, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("the pod network's proxy stopped: %w", err)
		}
	}()
	return nil
}

// startServices starts what the cluster and its tests find beside the nodes:
// the way from the API server to Services, storage, charts, the control socket.
func (d *daemon) startServices(running context.Context, failed chan<- error) error {
	client, err := kubernetes.NewForConfig(d.admin)
	if err != nil {
		return fmt.Errorf("cannot make a client of the API server: %w", err)
	}
	d.control.RouteServices(client, d.network.DialContext)
	storage := &provisioner{client: client, dir: d.instance.volumesDir(), log: d.log}
	if err := storage.run(running); err != nil {
		return err
	}
	d.charts = &chartRepository{dir: filepath.Join(d.binDir, "charts"), fault: ChartFault{Kind: "none"}}
	if d.chartsURL, err = d.charts.start(failed); err != nil {
		return err
	}
	return d.serveControl(running, failed)
}

func (d *daemon) startNodes(running context.Context, failed chan<- error) error {
	credential, err := d.control.Authority.Issue(controlplane.Identity{CommonName: "kubelet", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		return err
	}
	serving, err := credential.TLS()
	if err != nil {
		return err
	}
	gpuTaints, err := d.options.gpuTaints()
	if err != nil {
		return err
	}
	for i := range d.options.GPUNodes + d.options.CPUNodes {
		name, gpus, labels, taints := fmt.Sprintf("gpu-node-%d", i), d.options.GPUsPerNode, d.options.GPUNodeLabels, gpuTaints
		if i >= d.options.GPUNodes {
			name, gpus, labels, taints = fmt.Sprintf("cpu-node-%d", i-d.options.GPUNodes), 0, nil, nil
		}
		client, err := d.control.ClientConfig(controlplane.Identity{CommonName: "system:node:" + name, Organizations: []string{"system:nodes"}})
		if err != nil {
			return err
		}
		agent, err := node.New(node.Config{
			Name: name, Index: i, GPUs: gpus,
			Dir: filepath.Join(d.instance.Dir, "nodes", name), BinDir: d.binDir,
			Client: client, Serving: serving, ClientCAs: d.control.Authority.Pool(), MayConnect: controlplane.IsKubeletClient,
			VolumesDir: d.instance.volumesDir(), Labels: labels, Taints: taints,
			Network: d.network, ProxyURL: d.proxyURL, Starter: d.starter, Log: d.log,
		})
		if err != nil {
			return err
		}
		d.nodes = append(d.nodes, agent)
		go func() {
			if err := agent.Run(running); err != nil {
				failed <- err
				return
			}
			failed <- errNodeEnded
		}()
	}
	return nil
}

var errNodeEnded = errors.New("a node has ended")

// awaitNodes waits, with a limit, until all nodes have killed their processes.
func (d *daemon) awaitNodes(ended <-chan error) {
	limit := time.After(shutdownLimit)
	for range d.nodes {
		select {
		case <-ended: //nolint:errcheck // only that it ended matters here
		case <-limit:
			return
		}
	}
}
