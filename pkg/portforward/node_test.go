package portforward

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	spf "k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/klog/v2"
)

// PortForward is the node's part: it connects to the process behind a port.
func (c *cluster) PortForward(_ context.Context, pod, _ string, port int32, stream io.ReadWriteCloser) error {
	c.mu.Lock()
	address := c.backends[fmt.Sprintf("%s:%d", pod, port)]
	c.mu.Unlock()
	if port == deafPort {
		<-c.quit
		return nil
	}
	if address == "" {
		address = "127.0.0.1:1" // nothing listens on port 1
	}
	backend, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer backend.Close()
	go func() {
		io.Copy(backend, stream)
		backend.(*net.TCPConn).CloseWrite()
		// The streaming library hangs behind data that is not taken.
		io.Copy(io.Discard, stream)
	}()
	_, err = io.Copy(stream, backend)
	return err
}

// recorder notes the connection of an upgraded request, to kill it later.
type recorder struct {
	http.ResponseWriter
	cluster *cluster
	pod     string
}

func (r recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil {
		r.cluster.mu.Lock()
		r.cluster.tunnels[conn] = r.pod
		r.cluster.mu.Unlock()
	}
	return conn, rw, err
}

func (c *cluster) portForward(w http.ResponseWriter, r *http.Request) {
	ns, name := r.PathValue("ns"), r.PathValue("name")
	verb := "create"
	if r.Method == http.MethodGet {
		verb = "get"
	}
	if r.Header.Get("Authorization") != "Bearer secret" && r.Header.Get("X-Bridge") == "" {
		fail(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "", "Unauthorized")
		return
	}
	if !c.allowed(w, verb, "pods/portforward", ns) {
		return
	}
	c.mu.Lock()
	p, status, hang, noWS := c.pods[ns+"/"+name], c.broken[name], c.hang, c.noWS
	c.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	if p == nil {
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, "pods", fmt.Sprintf("pods %q not found", name))
		return
	}
	if status != 0 {
		http.Error(w, "error dialing backend: dial tcp 10.0.0.1:10250: connect: no route to host", status)
		return
	}
	rec := recorder{w, c, ns + "/" + name}
	if websocket.IsWebSocketUpgrade(r) {
		if noWS {
			http.Error(w, "unable to upgrade: no WebSockets here", http.StatusBadRequest)
			return
		}
		c.bridge(rec, r)
		return
	}
	spf.ServePortForward(rec, r, c, name, string(p.UID), nil, time.Hour, 30*time.Second, []string{spf.ProtocolV1Name})
}

// bridge does what the API server does with a tunnelling WebSocket: it copies
// bytes between it and a SPDY upgrade of the node.
func (c *cluster) bridge(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"SPDY/3.1+portforward.k8s.io"}}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	near := portforward.NewTunnelingConnectionWithLogger(klog.Logger{}, ws)
	defer near.Close()
	far, err := net.Dial("tcp", c.direct.Listener.Addr().String())
	if err != nil {
		return
	}
	defer far.Close()
	fmt.Fprintf(far, "POST %s HTTP/1.1\r\nHost: node\r\nX-Bridge: 1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\nContent-Length: 0\r\n\r\n", r.URL.Path)
	reader := bufio.NewReader(far)
	if response, err := http.ReadResponse(reader, nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(far, near)
		far.Close()
	}()
	io.Copy(near, reader)
	near.Close()
	<-done
}
