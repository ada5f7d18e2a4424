package portforward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var transports = []Transport{TransportSPDY, TransportWebSocket}

func onBoth(t *testing.T, test func(*testing.T, Transport)) {
	for _, transport := range transports {
		t.Run(string(transport), func(t *testing.T) { test(t, transport) })
	}
}

func TestEcho(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		c := tritonCluster(t)
		e := c.dialer(transport).Service("triton", "triton-infer", "http")
		conn := dial(t, e)
		if err := exchange(conn, "hello"); err != nil {
			t.Fatal(err)
		}
		if got := conn.RemoteAddr().String(); got != "triton/triton-0:8000" {
			t.Errorf("remote address %q", got)
		}
		ref, err := e.Resolve(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if want := (PodRef{"triton", "triton-0", "uid-triton-0", "gpu-0", 8000}); ref != want {
			t.Errorf("got %+v, want %+v", ref, want)
		}
	})
}

func TestOneTunnelForAllConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		c := tritonCluster(t)
		c.listen("triton-0", 8001, echo)
		d := c.dialer(transport)
		var wg sync.WaitGroup
		for i := range 64 {
			e := d.Service("triton", "triton-infer", []string{"http", "grpc"}[i%2])
			wg.Go(func() {
				conn, err := e.DialContext(testContext(t), "", "")
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				for n := range 50 {
					if err := exchange(conn, strings.Repeat(fmt.Sprintf("%d/%d ", i, n), 1+i*n)); err != nil {
						t.Errorf("connection %d: %v", i, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if n := c.count("create pods/portforward") + c.count("get pods/portforward"); transport == TransportSPDY && n != 1 {
			t.Errorf("%d tunnels were opened, want 1", n)
		}
	})
}

func TestHTTPTransport(t *testing.T) {
	c := newCluster(t)
	c.setService(service())
	c.setPod(readyPod("triton-0"))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s got %d bytes", r.URL.Path, len(body))
	})
	server := &http.Server{Handler: handler}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	c.backends["triton-0:8000"] = l.Addr().String()
	e := c.dialer(TransportSPDY).Service("triton", "triton-infer", "80")
	client := &http.Client{Transport: &http.Transport{DialContext: e.DialContext}}
	defer client.CloseIdleConnections()
	for _, size := range []int{0, 1, 1 << 20, 3<<20 + 7} {
		response, err := client.Post("http://triton/v2", "application/octet-stream", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if want := fmt.Sprintf("/v2 got %d bytes", size); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestRefusedEndsOneConnectionOnly(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		c := tritonCluster(t)
		d := c.dialer(transport)
		good := dial(t, d.Service("triton", "triton-infer", "http"))
		if err := exchange(good, "before"); err != nil {
			t.Fatal(err)
		}
		tunnels := c.count("create pods/portforward") + c.count("get pods/portforward")
		metrics := d.Service("triton", "triton-infer", "metrics")
		for range 30 {
			// The refusal comes with the dial if the node is fast, else after it.
			conn, err := metrics.DialContext(testContext(t), "", "")
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			var refused *RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want a RefusedError", err)
			}
			if refused.Pod.Port != 8002 || refused.Pod.Name != "triton-0" || !strings.Contains(refused.Reason, "connection refused") || strings.Contains(refused.Reason, "uid-") {
				t.Errorf("got %+v", refused)
			}
			if conn != nil {
				if _, err := conn.Write([]byte("x")); !errors.As(err, &refused) {
					t.Errorf("writing: %v", err)
				}
				conn.Close()
			}
			if err := exchange(good, "during"); err != nil {
				t.Fatal(err)
			}
		}
		if n := c.count("create pods/portforward") + c.count("get pods/portforward"); n != tunnels {
			t.Errorf("%d more tunnels were opened", n-tunnels)
		}
	})
}

func TestKilledTunnel(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		c := tritonCluster(t)
		e := c.dialer(transport).Service("triton", "triton-infer", "http")
		for range 3 {
			conn := dial(t, e)
			if err := exchange(conn, "alive"); err != nil {
				t.Fatal(err)
			}
			if c.killTunnels("") == 0 {
				t.Fatal("no tunnel to kill")
			}
			_, err := conn.Read(make([]byte, 1))
			var lost *LostError
			if !errors.As(err, &lost) || lost.Pod.Name != "triton-0" {
				t.Fatalf("got %v, want a LostError", err)
			}
			if _, err := conn.Write([]byte("x")); !errors.As(err, &lost) {
				t.Fatalf("writing: got %v, want a LostError", err)
			}
		}
	})
}

func TestKilledPodAndItsSuccessor(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		c := tritonCluster(t)
		e := c.dialer(transport).Service("triton", "triton-infer", "http")
		conn := dial(t, e)
		if err := exchange(conn, "alive"); err != nil {
			t.Fatal(err)
		}

		// Terminating: open connections go on, new ones find no pod.
		dying := readyPod("triton-0")
		now := metav1.Now()
		dying.DeletionTimestamp = &now
		c.setPod(dying)
		var none *NoReadyPodError
		eventually(t, "a terminating pod takes no connections", func() bool {
			extra, err := e.DialContext(testContext(t), "", "")
			if err == nil {
				extra.Close()
			}
			return errors.As(err, &none)
		})
		if len(none.Pods) != 1 || none.Pods[0].Reason != "Terminating" {
			t.Errorf("got %+v", none)
		}
		if err := exchange(conn, "still alive"); err != nil {
			t.Fatal(err)
		}

		// Gone: open connections fail, although the node has not cut them.
		c.deletePod("triton", "triton-0")
		_, err := conn.Read(make([]byte, 1))
		var lost *LostError
		if !errors.As(err, &lost) || !strings.Contains(err.Error(), "deleted") {
			t.Fatalf("got %v", err)
		}

		c.listen("triton-1", 8000, echo)
		c.setPod(readyPod("triton-1"))
		next := dial(t, e)
		if err := exchange(next, "the next"); err != nil {
			t.Fatal(err)
		}
		if ref, _ := e.Resolve(testContext(t)); ref.Name != "triton-1" {
			t.Errorf("got %v", ref)
		}
	})
}

func TestReadyPodIsPreferredAndKept(t *testing.T) {
	c := tritonCluster(t)
	c.setPod(unready(readyPod("triton-00"), "ContainersNotReady"))
	c.setPod(readyPod("triton-1"))
	c.listen("triton-1", 8000, echo)
	e := c.dialer(TransportSPDY).Service("triton", "triton-infer", "http")
	at := func() string {
		ref, err := e.Resolve(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		return ref.Name
	}
	if at() != "triton-0" {
		t.Fatalf("chose %s", at())
	}
	conn := dial(t, e)

	// An earlier name becoming ready moves nothing.
	c.setPod(readyPod("triton-00"))
	if at() != "triton-0" {
		t.Fatalf("moved to %s", at())
	}
	// The chosen pod becoming unready moves new connections only.
	c.setPod(unready(readyPod("triton-0"), "ContainersNotReady"))
	eventually(t, "another pod is chosen", func() bool { return at() == "triton-00" })
	if err := exchange(conn, "stays"); err != nil {
		t.Fatal(err)
	}
}

func TestUnreadyPodWithTunnelServesForWantOfBetter(t *testing.T) {
	c := tritonCluster(t)
	e := c.dialer(TransportSPDY).Service("triton", "triton-infer", "http")
	dial(t, e)
	c.setPod(unready(readyPod("triton-0"), "ContainersNotReady"))
	eventually(t, "the change is seen", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return !e.current.pod.usable(true)
	})
	if err := exchange(dial(t, e), "overloaded, not gone"); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutPermissionToWatch(t *testing.T) {
	c := tritonCluster(t)
	c.deny("watch", "pods")
	e := c.dialer(TransportSPDY).Service("triton", "triton-infer", "http")
	conn := dial(t, e)
	c.listen("triton-1", 8000, echo)
	c.setPod(readyPod("triton-1"))
	c.deletePod("triton", "triton-0")
	c.killTunnels("")
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Fatal("the connection outlived its tunnel")
	}
	if err := exchange(dial(t, e), "re-read"); err != nil {
		t.Fatal(err)
	}
}

func TestDeletionIsSeenAfterTheWatchExpired(t *testing.T) {
	c := tritonCluster(t)
	conn := dial(t, c.dialer(TransportSPDY).Service("triton", "triton-infer", "http"))
	eventually(t, "the pod is watched", func() bool { return c.count("watch pods") == 1 })
	c.expireWatches()
	c.deletePod("triton", "triton-0") // nobody is told
	_, err := conn.Read(make([]byte, 1))
	if !errors.Is(err, errPodDeleted) {
		t.Errorf("got %v", err)
	}
}

func TestAnotherPodWhenANodeIsUnreachable(t *testing.T) {
	c := tritonCluster(t)
	c.setPod(readyPod("triton-1"))
	c.listen("triton-1", 8000, echo)
	c.broken["triton-0"] = http.StatusInternalServerError
	e := c.dialer(TransportSPDY).Service("triton", "triton-infer", "http")
	if err := exchange(dial(t, e), "by the other node"); err != nil {
		t.Fatal(err)
	}
}

func TestWebSocketFallsBackToSPDY(t *testing.T) {
	for name, deny := range map[string]func(*cluster){
		"no WebSockets":    func(c *cluster) { c.noWS = true },
		"get is forbidden": func(c *cluster) { c.deny("get", "pods/portforward") },
	} {
		t.Run(name, func(t *testing.T) {
			c := tritonCluster(t)
			deny(c)
			if err := exchange(dial(t, c.dialer(TransportWebSocket).Service("triton", "triton-infer", "http")), "x"); err != nil {
				t.Fatal(err)
			}
			if c.count("create pods/portforward") != 1 {
				t.Error("SPDY was not used")
			}
		})
	}
}

func TestCancelledDial(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		c := tritonCluster(t)
		c.hang = make(chan struct{})
		e := c.dialer(transport).Service("triton", "triton-infer", "http")
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error)
		go func() {
			_, err := e.DialContext(ctx, "", "")
			result <- err
		}()
		eventually(t, "the upgrade is under way", func() bool {
			return c.count("create pods/portforward")+c.count("get pods/portforward") > 0
		})
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		c.mu.Lock()
		c.hang = nil
		c.mu.Unlock()
		if err := exchange(dial(t, e), "afterwards"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDialerClose(t *testing.T) {
	c := tritonCluster(t)
	d := c.dialer(TransportSPDY)
	e := d.Service("triton", "triton-infer", "http")
	conn := dial(t, e)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := e.DialContext(testContext(t), "", ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDialerCloseDuringDial(t *testing.T) {
	c := tritonCluster(t)
	c.hang = make(chan struct{})
	d := c.dialer(TransportSPDY)
	result := make(chan error)
	go func() {
		_, err := d.Service("triton", "triton-infer", "http").DialContext(testContext(t), "", "")
		result <- err
	}()
	eventually(t, "the upgrade is under way", func() bool { return c.count("create pods/portforward") > 0 })
	d.Close()
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// The streaming library of the nodes hands frames to five workers; one that
// waits for a reader takes all its streams with it. New connections must not
// share that fate, and the tunnel must go when its connections are gone.
func TestStuckTunnelIsReplaced(t *testing.T) {
	c := tritonCluster(t)
	d := c.dialer(TransportSPDY)
	d.replyTimeout = 200 * time.Millisecond
	deaf := d.Pod("triton", "triton-0", strconv.Itoa(deafPort))
	var stuck []net.Conn
	for range 5 {
		conn := dial(t, deaf)
		if _, err := conn.Write([]byte("nobody reads this")); err != nil {
			t.Fatal(err)
		}
		stuck = append(stuck, conn)
	}
	conn := dial(t, d.Service("triton", "triton-infer", "http"))
	if err := exchange(conn, "by another tunnel"); err != nil {
		t.Fatal(err)
	}
	if n := c.count("create pods/portforward"); n != 2 {
		t.Errorf("%d tunnels were opened, want 2", n)
	}
	old := stuck[0].(*streamConn).s
	if isDone(old.done) {
		t.Error("the stuck tunnel was ended under its connections")
	}
	for _, c := range stuck {
		c.Close()
	}
	<-old.done
}

// connectProxy is an HTTP proxy that counts its tunnels.
func connectProxy(t *testing.T) (address *url.URL, tunnels *atomic.Int32) {
	t.Helper()
	tunnels = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
			return
		}
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer far.Close()
		tunnels.Add(1)
		near, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer near.Close()
		io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
		done := make(chan struct{})
		go func() {
			defer close(done)
			io.Copy(far, buffered)
			far.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(near, far)
		near.Close()
		<-done
	}))
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return address, tunnels
}

func TestThroughAProxy(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		c := tritonCluster(t)
		address, tunnels := connectProxy(t)
		d := c.dialer(transport, func(config *Config) {
			config.REST.Proxy = func(r *http.Request) (*url.URL, error) {
				if strings.HasSuffix(r.URL.Path, "/portforward") {
					return address, nil
				}
				return nil, nil
			}
		})
		e := d.Service("triton", "triton-infer", "http")
		one, two := dial(t, e), dial(t, e)
		for _, conn := range []net.Conn{one, two, one} {
			if err := exchange(conn, strings.Repeat("through a proxy ", 1<<12)); err != nil {
				t.Error(err)
			}
		}
		if n := tunnels.Load(); n != 1 {
			t.Errorf("the proxy was used %d times", n)
		}
	})
}
