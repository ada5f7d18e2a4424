package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/kubectl-triton/kubectl-triton/sandbox/gpu"
	"github.com/kubectl-triton/kubectl-triton/sandbox/process"
)

const (
	leaseDuration     = 40 * time.Second
	leaseRenewal      = 10 * time.Second
	statusHeartbeat   = 5 * time.Minute
	leaseNamespace    = corev1.NamespaceNodeLease
	nodesPerNetwork   = 256
	registrationRetry = 200 * time.Millisecond
)

// Config describes one node.
type Config struct {
	Name  string
	Index int // unique within the cluster, below 256: it determines the node's addresses
	GPUs  int // 0 for a CPU node

	Dir    string // state of this node, created by New
	BinDir string // where the programs of known images lie
	// VolumesDir holds the directories of local PersistentVolumes; empty if the cluster has none.
	VolumesDir string

	// Labels and Taints are those of a node of this kind, beside the usual ones.
	// Without Taints a GPU node has the device plugin's.
	Labels map[string]string
	Taints []corev1.Taint

	Client    *rest.Config // as system:node:NAME
	Serving   tls.Certificate
	ClientCAs *x509.CertPool
	// MayConnect decides by the certificate's common name who may use the kubelet's endpoints.
	MayConnect func(commonName string) bool

	Network  *Network
	ProxyURL string // where Network serves as an HTTP proxy
	Starter  *process.Starter
	Log      *slog.Logger
}

// Agent is the kubelet of one node.
type Agent struct {
	cfg        Config
	log        *slog.Logger
	client     kubernetes.Interface
	internalIP netip.Addr
	podCIDR    netip.Prefix
	addresses  *addressPool
	devices    *devices
	prober     *prober
	recorder   record.EventRecorder
	listener   net.Listener

	mu      sync.Mutex
	workers map[types.UID]*podWorker
	running sync.WaitGroup
}

// New prepares a node: its directory, its GPUs and its kubelet's port.
func New(cfg Config) (*Agent, error) {
	if cfg.Index < 0 || cfg.Index >= nodesPerNetwork {
		return nil, fmt.Errorf("node index %d is outside of 0–%d, the range that the pod network has addresses for", cfg.Index, nodesPerNetwork-1)
	}
	client, err := kubernetes.NewForConfig(cfg.Client)
	if err != nil {
		return nil, fmt.Errorf("cannot make the client of node %s: %w", cfg.Name, err)
	}
	index := byte(cfg.Index)
	a := &Agent{
		cfg:        cfg,
		log:        cfg.Log.With("node", cfg.Name),
		client:     client,
		internalIP: netip.AddrFrom4([4]byte{10, 64, index, 2}),
		podCIDR:    netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, index, 0}), 24),
		prober:     newProber(cfg.Network),
		workers:    map[types.UID]*podWorker{},
	}
	a.addresses = newAddressPool(a.podCIDR)
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "pods"), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of node %s: %w", cfg.Name, err)
	}
	if err := a.setUpGPUs(); err != nil {
		return nil, err
	}
	if a.listener, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("cannot open a loopback port for the kubelet of node %s: %w", cfg.Name, err)
	}
	return a, nil
}

func (a *Agent) gpuDir() string { return filepath.Join(a.cfg.Dir, "gpu") }

func (a *Agent) setUpGPUs() error {
	var uuids []string
	if a.cfg.GPUs > 0 {
		inventory, err := newGPUs(a.cfg.GPUs)
		if err != nil {
			return err
		}
		if err := gpu.WriteInventory(a.gpuDir(), inventory); err != nil {
			return fmt.Errorf("node %s: %w", a.cfg.Name, err)
		}
		for _, device := range inventory {
			uuids = append(uuids, device.UUID)
		}
	}
	var err error
	a.devices, err = newDevices(filepath.Join(a.cfg.Dir, "pod-resources.json"), uuids)
	return err
}

// Run registers the node and serves its pods until ctx ends; then it kills
// their processes and returns nil. It returns an error if the node can't work.
func (a *Agent) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1, which upgrades need
		TLSConfig: &tls.Config{
			MinVersion:   tls.VersionTLS12,
			Certificates: []tls.Certificate{a.cfg.Serving},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    a.cfg.ClientCAs,
			VerifyConnection: func(s tls.ConnectionState) error {
				if name := s.PeerCertificates[0].Subject.CommonName; !a.cfg.MayConnect(name) {
					return fmt.Errorf("%q may not use the kubelet of %s", name, a.cfg.Name)
				}
				return nil
			},
		},
	}
	failed := make(chan error, 1)
	go func() {
		if err := server.ServeTLS(a.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("the kubelet of node %s stopped serving: %w", a.cfg.Name, err)
		}
	}()
	defer server.Close()

	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: a.client.CoreV1().Events("")})
	a.recorder = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: a.cfg.Name})

	if err := a.register(ctx); err != nil {
		return err
	}
	pods := cache.NewListWatchFromClient(a.client.CoreV1().RESTClient(), "pods", corev1.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", a.cfg.Name))
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: pods,
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { a.observe(ctx, o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { a.observe(ctx, o.(*corev1.Pod)) },
			DeleteFunc: func(o any) {
				if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = unknown.Obj
				}
				a.observeRemoval(o.(*corev1.Pod))
			},
		},
	})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		informer.RunWithContext(ctx)
	}()
	go a.heartbeat(ctx)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	if err == nil {
		<-watching // no pod is taken on any more
		a.running.Wait()
	}
	return err
}

func (a *Agent) observe(ctx context.Context, pod *corev1.Pod) {
	a.mu.Lock()
	w, known := a.workers[pod.UID]
	if !known && ctx.Err() == nil {
		w = newPodWorker(a, pod)
		a.workers[pod.UID] = w
		a.running.Go(func() { w.run(ctx) })
	}
	a.mu.Unlock()
	if known {
		w.update(pod, false)
	}
}

func (a *Agent) observeRemoval(pod *corev1.Pod) {
	a.mu.Lock()
	w := a.workers[pod.UID]
	a.mu.Unlock()
	if w != nil {
		w.update(pod, true)
	}
}

func (a *Agent) forget(w *podWorker) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.workers, w.pod().UID)
}

// someoneEnds reports whether a pod of this node is being deleted.
func (a *Agent) someoneEnds() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		if w.deletionRequested() {
			return true
		}
	}
	return false
}

// worker finds the pod of a name; of two, the one that is not being deleted.
func (a *Agent) worker(namespace, name string) *podWorker {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found *podWorker
	for _, w := range a.workers {
		if w.key.Namespace == namespace && w.key.Name == name && (found == nil || !w.deletionRequested()) {
			found = w
		}
	}
	return found
}

func (a *Agent) register(ctx context.Context) error {
	port := int32(a.listener.Addr().(*net.TCPAddr).Port)
	node := newNode(a.cfg, a.internalIP, a.podCIDR, port)
	for {
		_, err := a.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		if err == nil || apierrors.IsAlreadyExists(err) {
			return a.renewLease(ctx)
		}
		if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return fmt.Errorf("node %s can't be registered: %w", a.cfg.Name, err)
		}
		a.log.Warn("cannot register the node; trying again", "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s was not registered in time: %w", a.cfg.Name, err)
		case <-time.After(registrationRetry):
		}
	}
}

// heartbeat renews the node's lease and, now and then, its conditions.
func (a *Agent) heartbeat(ctx context.Context) {
	lease, status := time.NewTicker(leaseRenewal), time.NewTicker(statusHeartbeat)
	defer lease.Stop()
	defer status.Stop()
	since := metav1.Now()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-lease.C:
			err = a.renewLease(ctx)
		case <-status.C:
			err = a.renewConditions(ctx, since)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Warn("a heartbeat failed", "error", err)
		}
	}
}

func (a *Agent) renewLease(ctx context.Context) error {
	leases := a.client.CoordinationV1().Leases(leaseNamespace)
	lease, err := leases.Get(ctx, a.cfg.Name, metav1.GetOptions{})
	now := metav1.NowMicro()
	switch {
	case apierrors.IsNotFound(err):
		_, err = leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: a.cfg.Name},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity:       ptr.To(a.cfg.Name),
				LeaseDurationSeconds: ptr.To(int32(leaseDuration / time.Second)),
				RenewTime:            &now,
			},
		}, metav1.CreateOptions{})
	case err == nil:
		lease.Spec.RenewTime = &now
		_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("cannot renew the lease of node %s: %w", a.cfg.Name, err)
	}
	return nil
}

func (a *Agent) renewConditions(ctx context.Context, since metav1.Time) error {
	nodes := a.client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, a.cfg.Name, metav1.GetOptions{})
	if err == nil {
		node.Status.Conditions = nodeConditions(metav1.Now(), since)
		_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("cannot report the conditions of node %s: %w", a.cfg.Name, err)
	}
	return nil
}
