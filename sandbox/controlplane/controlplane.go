package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	logsapi "k8s.io/component-base/logs/api/v1"
)

const (
	serviceCIDR = "10.96.0.0/16"
	podCIDR     = "10.244.0.0/16"

	// kubeletClientName is the common name that the API server shows to kubelets.
	kubeletClientName = "kube-apiserver-kubelet-client"

	pollInterval = 50 * time.Millisecond
)

// Config says where the control plane keeps its state.
type Config struct {
	Dir string // an existing directory of mode 0700, for etcd, its sockets and the keys
	// AuditLog is the file that the API server records clients' requests in; empty for none.
	AuditLog string
	// Step is told about each milestone as it is reached; nil means no reports.
	Step func(milestone string)
}

// ControlPlane is a running control plane.
type ControlPlane struct {
	Authority *Authority
	Address   string // host:port of the API server

	listener *gate
	services *serviceRoute
	dir      string
	auditLog string
	step     func(string)
	etcd     *embed.Etcd
	cancel   context.CancelFunc
	failed   chan error
	running  int
}

// Start brings the control plane up and returns once it can take pods. When ctx
// ends before that, everything that was started is stopped again. Later
// failures arrive on Failed. A process can start one only: the components keep
// global state.
func Start(ctx context.Context, cfg Config) (*ControlPlane, error) {
	c := &ControlPlane{dir: cfg.Dir, auditLog: cfg.AuditLog, step: cfg.Step, failed: make(chan error, 4), services: &serviceRoute{
		services: netip.MustParsePrefix(serviceCIDR), pods: netip.MustParsePrefix(podCIDR),
	}}
	if c.step == nil {
		c.step = func(string) {}
	}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	if err := c.prepare(); err != nil {
		return err
	}
	// Each component applies its own logging options; this process keeps the first.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	audit, err := c.auditArgs(c.auditLog)
	if err != nil {
		return err
	}
	runAPIServer, err := prepareAPIServer(c.listener, append(c.apiServerArgs(), audit...), c.services.DialContext)
	if err != nil {
		return fmt.Errorf("cannot set up kube-apiserver: %w", err)
	}
	if c.etcd, err = startEtcd(ctx, c.dir); err != nil {
		return err
	}
	c.step("etcd is ready")

	var run context.Context
	run, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.run("kube-apiserver", func() error { return runAPIServer(run) })
	admin, err := c.ClientConfig(Identity{CommonName: "sandbox-control-plane", Organizations: []string{"system:masters"}})
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return fmt.Errorf("cannot make a client of the API server: %w", err)
	}
	if err := c.wait(ctx, "the API server to be ready", func() error {
		var status int
		result := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status)
		if err := result.Error(); err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("/readyz answers status %d", status)
		}
		return nil
	}); err != nil {
		return err
	}
	c.step(fmt.Sprintf("API server is ready at https://%s", c.Address))

	c.run("kube-controller-manager", func() error { return runControllerManager(run, c.controllerManagerArgs()) })
	c.run("kube-scheduler", func() error { return runScheduler(run, c.schedulerArgs()) })
	// Pods of a namespace without its default ServiceAccount are refused.
	if err := c.wait(ctx, "the controller manager to create ServiceAccounts", func() error {
		return client.CoreV1().RESTClient().Get().Namespace("default").Resource("serviceaccounts").Name("default").Do(ctx).Error()
	}); err != nil {
		return err
	}
	c.step("controller manager and scheduler are running")
	return nil
}

// prepare opens the API server's port and writes the keys.
func (c *ControlPlane) prepare() error {
	listener, err := newGate()
	if err != nil {
		return fmt.Errorf("cannot open a loopback port for the API server: %w", err)
	}
	c.listener, c.Address = listener, listener.Addr().String()
	if c.Authority, err = NewAuthority(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.pki(), 0o700); err != nil {
		return fmt.Errorf("cannot make the directory for keys: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.pki(), "ca.crt"), c.Authority.PEM(), 0o600); err != nil {
		return fmt.Errorf("cannot store the CA certificate: %w", err)
	}
	if err := writeServiceAccountKeys(c.pki()); err != nil {
		return err
	}
	server, err := c.Authority.Issue(Identity{
		CommonName: "kube-apiserver",
		DNSNames:   []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPs:        []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
	})
	if err != nil {
		return err
	}
	if err := server.write(c.pki(), "apiserver"); err != nil {
		return err
	}
	kubeletClient, err := c.Authority.Issue(Identity{CommonName: kubeletClientName, Organizations: []string{"system:masters"}})
	if err != nil {
		return err
	}
	if err := kubeletClient.write(c.pki(), "kubelet-client"); err != nil {
		return err
	}
	kubeconfig, err := c.Kubeconfig(Identity{CommonName: "system:sandbox:components", Organizations: []string{"system:masters"}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.componentsKubeconfig(), kubeconfig, 0o600); err != nil {
		return fmt.Errorf("cannot store the components' kubeconfig: %w", err)
	}
	return nil
}

func (c *ControlPlane) pki() string { return filepath.Join(c.dir, "pki") }
func (c *ControlPlane) componentsKubeconfig() string {
	return filepath.Join(c.pki(), "components.kubeconfig")
}

func (c *ControlPlane) apiServerArgs() []string {
	file := func(name string) string { return filepath.Join(c.pki(), name) }
	return []string{
		"--etcd-servers=unix://" + etcdSocket(c.dir),
		"--bind-address=127.0.0.1",
		"--advertise-address=192.0.2.2", // TEST-NET-1: loopback is not valid here, and nothing dials it
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=" + serviceCIDR,
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
		"--profiling=false",
		"--client-ca-file=" + file("ca.crt"),
		"--tls-cert-file=" + file("apiserver.crt"), "--tls-private-key-file=" + file("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + file("sa.pub"), "--service-account-signing-key-file=" + file("sa.key"),
		"--kubelet-client-certificate=" + file("kubelet-client.crt"), "--kubelet-client-key=" + file("kubelet-client.key"),
		"--kubelet-certificate-authority=" + file("ca.crt"),
		// Nodes show a routable-looking InternalIP, which EndpointSlices need,
		// while their agents listen on loopback, which they register as Hostname.
		"--kubelet-preferred-address-types=Hostname",
	}
}

func (c *ControlPlane) controllerManagerArgs() []string {
	return []string{
		"--kubeconfig=" + c.componentsKubeconfig(),
		"--service-account-private-key-file=" + filepath.Join(c.pki(), "sa.key"),
		"--root-ca-file=" + filepath.Join(c.pki(), "ca.crt"),
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--cluster-cidr=" + podCIDR,
		// The node agents assign pod addresses and attach no volumes; the
		// controllers for both poll at sub-second intervals.
		"--controllers=*,-node-ipam-controller,-persistentvolume-attach-detach-controller,-persistentvolume-expander-controller",
	}
}

func (c *ControlPlane) schedulerArgs() []string {
	return []string{"--kubeconfig=" + c.componentsKubeconfig(), "--leader-elect=false", "--secure-port=0", "--profiling=false"}
}

func (c *ControlPlane) run(name string, f func() error) {
	c.running++
	go func() {
		err := f()
		if err == nil {
			err = errors.New("it returned without an error")
		}
		c.failed <- fmt.Errorf("%s stopped: %w", name, err)
	}()
}

// wait polls check until it passes, a component fails or ctx ends.
func (c *ControlPlane) wait(ctx context.Context, what string, check func() error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case failure := <-c.failed:
			c.running--
			return failure
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting for %s: %w (last answer: %w)", what, ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// RouteServices lets the API server reach Services and pods, which webhooks
// and the proxy subresources need; dial connects to pods.
func (c *ControlPlane) RouteServices(client kubernetes.Interface, dial PodDialer) {
	c.services.set(client, dial)
}

// Outage makes the API server unreachable: all connections are cut and new ones
// refused for the given time, for every component and client alike. The process
// and its state stay.
func (c *ControlPlane) Outage(ctx context.Context, duration time.Duration) error {
	if err := c.listener.shut(); err != nil {
		return err
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return c.listener.open()
}

// Failed delivers the error of a component that stopped by itself.
func (c *ControlPlane) Failed() <-chan error { return c.failed }

// Stop ends all components, the API server before etcd. It is safe to call once.
func (c *ControlPlane) Stop() {
	if c.cancel != nil {
		c.cancel()
	}
	timeout := time.After(5 * time.Second)
	for ; c.running > 0; c.running-- {
		select {
		case <-c.failed: //nolint:errcheck // only that it ended matters here
			continue
		case <-timeout:
		}
		break
	}
	if c.etcd != nil {
		c.etcd.Close()
	}
	if c.listener != nil {
		_ = c.listener.Close() // the server may have closed it
	}
}

// ClientConfig returns a client configuration with a new certificate for id.
func (c *ControlPlane) ClientConfig(id Identity) (*rest.Config, error) {
	credential, err := c.Authority.Issue(id)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host:            "https://" + c.Address,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.Authority.PEM(), CertData: credential.Certificate, KeyData: credential.Key},
		QPS:             -1, // no client-side limit: the server's own flow control applies
	}, nil
}

// Kubeconfig returns a self-contained kubeconfig file with a new certificate for id.
func (c *ControlPlane) Kubeconfig(id Identity) ([]byte, error) {
	credential, err := c.Authority.Issue(id)
	if err != nil {
		return nil, err
	}
	const name = "sandbox"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: "https://" + c.Address, CertificateAuthorityData: c.Authority.PEM()}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: credential.Certificate, ClientKeyData: credential.Key}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	content, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the kubeconfig: %w", err)
	}
	return content, nil
}

// IsKubeletClient reports whether a peer with this certificate subject is this cluster's API server.
func IsKubeletClient(commonName string) bool { return commonName == kubeletClientName }
