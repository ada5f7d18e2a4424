package portforward

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

func TestMain(m *testing.M) {
	// The kubelet's streaming server logs every refused connection.
	klog.SetLogger(klog.Logger{})
	os.Exit(m.Run())
}

// cluster is an API server and a node in this process: the REST calls that the
// package makes, and port-forwards by the kubelet's own streaming server.
type cluster struct {
	t      testing.TB
	server *httptest.Server
	direct *httptest.Server // the node's endpoint, without TLS

	mu       sync.Mutex
	version  int
	pods     map[string]*corev1.Pod
	services map[string]*corev1.Service
	watchers map[chan watchEvent]string
	denied   map[string]bool   // "verb resource"
	broken   map[string]int    // pod name → status of its port-forward upgrades
	backends map[string]string // "pod:port" → address
	tunnels  map[net.Conn]string
	requests map[string]int // "verb resource" → count
	noWS     bool
	hang     chan struct{} // port-forward upgrades wait for it
	quit     chan struct{} // closed at the end of the test
}

// deafPort is a port where the node takes connections but reads nothing.
const deafPort = 7

type watchEvent struct {
	Type   string `json:"type"`
	Object any    `json:"object"`
}

func newCluster(t testing.TB) *cluster {
	checkLeaks(t)
	c := &cluster{t: t,
		pods: map[string]*corev1.Pod{}, services: map[string]*corev1.Service{}, watchers: map[chan watchEvent]string{},
		denied: map[string]bool{}, broken: map[string]int{}, backends: map[string]string{}, tunnels: map[net.Conn]string{}, requests: map[string]int{},
		quit: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/namespaces/{ns}/services/{name}", c.getService)
	mux.HandleFunc("GET /api/v1/namespaces/{ns}/pods/{name}", c.getPod)
	mux.HandleFunc("GET /api/v1/namespaces/{ns}/pods", c.listPods)
	mux.HandleFunc("/api/v1/namespaces/{ns}/pods/{name}/portforward", c.portForward)
	c.direct = httptest.NewServer(mux)
	c.server = httptest.NewUnstartedServer(mux)
	c.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	c.server.StartTLS()
	t.Cleanup(func() {
		close(c.quit)
		c.killTunnels("")
		c.server.CloseClientConnections()
		c.server.Close()
		c.direct.CloseClientConnections()
		c.direct.Close()
	})
	return c
}

// checkLeaks fails the test if goroutines remain after all its other cleanups.
// The SPDY library is used on the server's side only.
func checkLeaks(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		options := []goleak.Option{before}
		for _, function := range []string{
			"github.com/moby/spdystream.(*Stream).Read",
			"github.com/moby/spdystream.(*Connection).Serve",
			"github.com/moby/spdystream.(*Connection).Serve.func1",
			"github.com/moby/spdystream.(*Connection).Serve.func2",
			"github.com/moby/spdystream.(*Connection).shutdown",
			"github.com/moby/spdystream.(*Connection).shutdown.func1",
			"github.com/moby/spdystream.(*idleAwareFramer).monitor",
			"github.com/moby/spdystream.(*idleAwareFramer).monitor.func2",
			"github.com/moby/spdystream.(*idleAwareFramer).monitor.func3",
			"k8s.io/cri-streaming/pkg/streaming/portforward.(*httpStreamHandler).monitorStreamPair",
		} {
			options = append(options, goleak.IgnoreAnyFunction(function))
		}
		goleak.VerifyNone(t, options...)
	})
}

func (c *cluster) config() *rest.Config {
	return &rest.Config{Host: c.server.URL, BearerToken: "secret", TLSClientConfig: rest.TLSClientConfig{

		CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.server.Certificate().Raw})}, QPS: -1}
}

func (c *cluster) dialer(transport Transport, change ...func(*Config)) *Dialer {
	c.t.Helper()
	config := Config{REST: c.config(), Transport: transport, Logf: c.t.Logf}
	for _, f := range change {
		f(&config)
	}
	d, err := New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { d.Close() })
	return d
}

func (c *cluster) deny(verb, resource string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denied[verb+" "+resource] = true
}

// allowed counts the request and answers as RBAC does if it is denied.
func (c *cluster) allowed(w http.ResponseWriter, verb, resource, ns string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[verb+" "+resource]++
	if !c.denied[verb+" "+resource] {
		return true
	}
	kind, _, _ := strings.Cut(resource, "/")
	fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, kind,
		fmt.Sprintf(`%s is forbidden: User "jane" cannot %s resource %q in API group "" in the namespace %q`, kind, verb, resource, ns))
	return false
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure",
		Code: int32(code), Reason: reason, Message: message, Details: &metav1.StatusDetails{Kind: kind}})
}

func reply(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(object)
}

func (c *cluster) getService(w http.ResponseWriter, r *http.Request) {
	if !c.allowed(w, "get", "services", r.PathValue("ns")) {
		return
	}
	c.mu.Lock()
	s := c.services[r.PathValue("ns")+"/"+r.PathValue("name")]
	c.mu.Unlock()
	if s == nil {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, "services", fmt.Sprintf("services %q not found", r.PathValue("name")))
		return
	}
	reply(w, s)
}

func (c *cluster) getPod(w http.ResponseWriter, r *http.Request) {
	if !c.allowed(w, "get", "pods", r.PathValue("ns")) {
		return
	}
	c.mu.Lock()
	p := c.pods[r.PathValue("ns")+"/"+r.PathValue("name")]
	c.mu.Unlock()
	if p == nil {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, "pods", fmt.Sprintf("pods %q not found", r.PathValue("name")))
		return
	}
	reply(w, p)
}

func (c *cluster) listPods(w http.ResponseWriter, r *http.Request) {
	ns := r.PathValue("ns")
	field, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		panic(err)
	}
	if r.URL.Query().Get("watch") != "" {
		if c.allowed(w, "watch", "pods", ns) {
			name, _ := field.RequiresExactMatch("metadata.name")
			c.serveWatch(w, r, ns+"/"+name)
		}
		return
	}
	if !c.allowed(w, "list", "pods", ns) {
		return
	}
	label, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(c.version)}}
	for _, p := range c.pods {
		if p.Namespace == ns && label.Matches(labels.Set(p.Labels)) && field.Matches(fields.Set{"metadata.name": p.Name}) {
			list.Items = append(list.Items, *p)
		}
	}
	reply(w, list)
}

func (c *cluster) serveWatch(w http.ResponseWriter, r *http.Request, key string) {
	events := make(chan watchEvent, 100)
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	c.mu.Lock()
	c.watchers[events] = key
	if p := c.pods[key]; p == nil {
		events <- watchEvent{"DELETED", &corev1.Pod{TypeMeta: podType, ObjectMeta: metav1.ObjectMeta{Name: "x"}}}
	} else if v, _ := strconv.Atoi(p.ResourceVersion); v > from {
		events <- watchEvent{"MODIFIED", p}
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.watchers, events)
		c.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-events:
			json.NewEncoder(w).Encode(e)
			w.(http.Flusher).Flush()
			if e.Type == "ERROR" {
				return
			}
		}
	}
}

var podType = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}

// setPod stores a pod and tells the watches.
func (c *cluster) setPod(p *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p = p.DeepCopy()
	c.version++
	p.TypeMeta = podType
	p.ResourceVersion = strconv.Itoa(c.version)
	key := p.Namespace + "/" + p.Name
	c.pods[key] = p
	c.tell(key, watchEvent{"MODIFIED", p})
}

func (c *cluster) tell(key string, e watchEvent) {
	for events, of := range c.watchers {
		if of == key {
			events <- e
		}
	}
}

// deletePod removes a pod at once, as a force deletion does. Its tunnels stay:
// on a real node, too, they outlive it for a moment.
func (c *cluster) deletePod(ns, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := ns + "/" + name
	p := c.pods[key].DeepCopy()
	c.version++
	p.ResourceVersion = strconv.Itoa(c.version)
	delete(c.pods, key)
	c.tell(key, watchEvent{"DELETED", p})
}

// expireWatches ends all watches, as the API server does after a while.
func (c *cluster) expireWatches() {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old resource version"}
	for events := range c.watchers {
		events <- watchEvent{"ERROR", gone}
		delete(c.watchers, events)
	}
}

// killTunnels cuts the tunnels to a pod, or all.
func (c *cluster) killTunnels(pod string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for conn, of := range c.tunnels {
		if pod == "" || of == pod {
			conn.Close()
			delete(c.tunnels, conn)
			n++
		}
	}
	return n
}

func (c *cluster) count(request string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[request]
}
