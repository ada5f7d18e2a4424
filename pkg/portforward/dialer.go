package portforward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// Transport is how the tunnel reaches the API server.
type Transport string

const (
	// TransportSPDY upgrades the connection to SPDY/3.1. The default.
	TransportSPDY Transport = "spdy"
	// TransportWebSocket tunnels SPDY inside a WebSocket, for proxies that do
	// not let SPDY through. Where the API server or a proxy cannot do it, SPDY
	// is used, as kubectl does.
	TransportWebSocket Transport = "websocket"
)

// Config says how to reach the cluster.
type Config struct {
	// REST locates the API server and holds the credentials. Required.
	REST *rest.Config
	// Client reads Services and pods; nil makes one from REST.
	Client kubernetes.Interface
	// Transport is TransportSPDY when empty.
	Transport Transport
	// Logf receives notes such as a tunnel that was lost; nil drops them.
	Logf func(format string, args ...any)
	// PingInterval is how often an idle or busy tunnel is asked for a sign of
	// life; it is given up after six without one. 5 s when zero.
	PingInterval time.Duration
}

// PodRef identifies a pod and, where one is meant, a port of it.
type PodRef struct {
	Namespace string
	Name      string
	UID       string
	Node      string
	Port      int32 // container port; 0 when none is meant
}

// String is the pod as namespace/name.
func (p PodRef) String() string { return p.Namespace + "/" + p.Name }

func (p PodRef) address() string { return fmt.Sprintf("%s/%s:%d", p.Namespace, p.Name, p.Port) }

// Dialer owns one tunnel per pod, shared by all Endpoints and connections.
type Dialer struct {
	config Config
	rest   *rest.Config
	client kubernetes.Interface
	http   *http.Client // of client, if it was made here
	server *url.URL

	replyTimeout time.Duration // for a node to take a connection

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	pods   map[types.UID]*pod
}

var errDialerClosed = fmt.Errorf("the port-forward dialer is closed: %w", net.ErrClosed)

// New makes a Dialer. It does not talk to the API server yet.
func New(config Config) (*Dialer, error) {
	if config.REST == nil {
		return nil, errors.New("port-forward: no cluster configuration given")
	}
	switch config.Transport {
	case "":
		config.Transport = TransportSPDY
	case TransportSPDY, TransportWebSocket:
	default:
		return nil, fmt.Errorf("port-forward: unknown transport %q; use %q or %q", config.Transport, TransportSPDY, TransportWebSocket)
	}
	if config.Logf == nil {
		config.Logf = func(string, ...any) {}
	}
	if config.PingInterval <= 0 {
		config.PingInterval = defaultPingInterval
	}
	d := &Dialer{config: config, rest: rest.CopyConfig(config.REST), client: config.Client, replyTimeout: defaultReplyTimeout, pods: map[types.UID]*pod{}}
	server, _, err := rest.DefaultServerUrlFor(d.rest)
	if err != nil {
		return nil, fmt.Errorf("port-forward: the API server's address %q is not usable: %w", d.rest.Host, err)
	}
	d.server = server
	if d.client == nil {
		quiet := rest.CopyConfig(d.rest)
		quiet.WarningHandler = rest.NoWarnings{}
		if quiet.QPS == 0 && quiet.RateLimiter == nil {
			// The default of 5 per second would delay reconnects.
			quiet.QPS, quiet.Burst = 50, 100
		}
		if d.http, err = rest.HTTPClientFor(quiet); err == nil {
			d.client, err = kubernetes.NewForConfigAndClient(quiet, d.http)
		}
		if err != nil {
			return nil, fmt.Errorf("port-forward: making an API client: %w", err)
		}
	}
	// The libraries underneath log to stderr on their own unless a context
	// brings another logger.
	ctx := klog.NewContext(context.Background(), klog.Logger{})
	d.ctx, d.cancel = context.WithCancel(ctx)
	return d, nil
}

// Service is the endpoint at a Service's port, given by name or number; an
// empty port means the only one. Connections go to one ready pod behind it.
func (d *Dialer) Service(namespace, name, port string) *Endpoint {
	return &Endpoint{dialer: d, kind: kindService, namespace: namespace, name: name, port: port}
}

// Pod is the endpoint at a container port of one pod, given by name or number;
// an empty port means the only one. The pod must run but need not be ready.
func (d *Dialer) Pod(namespace, name, port string) *Endpoint {
	return &Endpoint{dialer: d, kind: kindPod, namespace: namespace, name: name, port: port}
}

// Close ends all tunnels and with them all connections, and waits for
// everything that the Dialer started.
func (d *Dialer) Close() error {
	d.mu.Lock()
	d.closed = true
	pods := make([]*pod, 0, len(d.pods))
	for _, p := range d.pods {
		pods = append(pods, p)
	}
	d.mu.Unlock()
	d.cancel()
	var wg sync.WaitGroup
	for _, p := range pods {
		wg.Go(func() { p.closeTunnel(errDialerClosed) })
	}
	wg.Wait()
	d.wg.Wait()
	if d.http != nil {
		utilnet.CloseIdleConnectionsFor(d.http.Transport)
	}
	return nil
}

// spawn runs fn in a goroutine that Close waits for.
func (d *Dialer) spawn(fn func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errDialerClosed
	}
	d.wg.Go(fn)
	return nil
}

// track returns the state of a pod that was just read from the API server, or
// was given, which tells nothing new of one that is tracked already.
func (d *Dialer) track(object *corev1.Pod, given bool) (*pod, error) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, errDialerClosed
	}
	p := d.pods[object.UID]
	fresh := p == nil
	if fresh {
		p = newPod(d, object)
		d.pods[object.UID] = p
		d.wg.Go(func() { p.watch(d.ctx, object.ResourceVersion) })
	}
	d.mu.Unlock()
	if fresh || !given {
		p.update(object)
	}
	return p, nil
}

// known is the state of a pod that is tracked, or nil.
func (d *Dialer) known(uid types.UID) *pod {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pods[uid]
}

func (d *Dialer) forget(p *pod) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pods[p.uid] == p {
		delete(d.pods, p.uid)
	}
}
