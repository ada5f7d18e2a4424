package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// together runs workers that each make calls on one client.
func together(t *testing.T, c *Client, workers, calls int, size func(worker, call int) int) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			k := c.NewCall()
			defer k.Close()
			for i := range calls {
				if err := ask(t.Context(), k, fmt.Sprintf("%c%d-%d", 'a'+w, w, i), size(w, i)); err != nil {
					t.Errorf("worker %d, call %d: %v", w, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func leakFree(t *testing.T, test func(t *testing.T)) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("test", test)
}

// TestAgainstTheReferenceServer: answers reach their own calls, with all sorts of
// sizes, windows and limits.
func TestAgainstTheReferenceServer(t *testing.T) {
	mixed := func(w, i int) int {
		switch {
		case w == 0 && i%20 == 0:
			return 20 << 20 // more than 16 MiB
		case w < 3 && i%10 == 0:
			return 100_000 + i
		}
		return i
	}
	small := func(_, i int) int { return i }
	tests := []struct {
		name   string
		server []grpc.ServerOption
		client Options
		size   func(int, int) int
	}{
		{"small", nil, Options{}, small},
		{"all sizes", nil, Options{}, mixed},
		{"one stream at a time", []grpc.ServerOption{grpc.MaxConcurrentStreams(1)}, Options{}, mixed},
		{"three streams", []grpc.ServerOption{grpc.MaxConcurrentStreams(3)}, Options{}, small},
		{"large windows of the server", []grpc.ServerOption{grpc.InitialWindowSize(1 << 28), grpc.InitialConnWindowSize(1 << 28)}, Options{}, mixed},
		{"windows of 64 KiB", nil, Options{receiveWindow: initialWindow}, mixed},
		{"no header table", []grpc.ServerOption{grpc.HeaderTableSize(0)}, Options{}, small},
		{"small header table", []grpc.ServerOption{grpc.HeaderTableSize(200)}, Options{}, small},
		{"pings", []grpc.ServerOption{grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Second, Timeout: 5 * time.Second})}, Options{}, small},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
				leakFree(t, func(t *testing.T) {
					_, address := serveModel(t, model{}, tt.server...)
					opts := testOptions
					opts.receiveWindow = tt.client.receiveWindow
					together(t, newTestClient(t, address, wrap, opts), 8, 41, tt.size)
				})
			})
		})
	}
}

func TestStatusesArriveAsSent(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			const message = "no – 100 % of\nit, \x01 and \"this\""
			var code atomic.Uint32
			_, address := serveModel(t, model{before: func(context.Context, string) error { return status.Error(codes.Code(code.Load()), message) }})
			k := newTestCall(t, newTestClient(t, address, wrap, testOptions))
			for n := range uint32(17) {
				code.Store(n)
				err := ask(t.Context(), k, "a", 3)
				if codeOf(err) != codes.Code(n) || n > 0 && status.Convert(err).Message() != message || !k.Answered() {
					t.Errorf("code %d: %v", n, err)
				}
			}
		})
	})
}

func TestTimeoutAndCancelEndOneCallOnly(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			var arrived, ended atomic.Int64
			toCancel := make(chan struct{}, 10)
			_, address := serveModel(t, model{before: func(ctx context.Context, id string) error {
				switch id {
				case "cancel":
					toCancel <- struct{}{}
				case "slow":
				default:
					return nil
				}
				arrived.Add(1)
				<-ctx.Done()
				ended.Add(1)
				return ctx.Err()
			}})
			c := newTestClient(t, address, wrap, testOptions)
			var others sync.WaitGroup
			stop := make(chan struct{})
			for range 2 {
				others.Go(func() {
					k := c.NewCall()
					defer k.Close()
					for {
						select {
						case <-stop:
							return
						default:
						}
						if err := ask(t.Context(), k, "a", 10); err != nil {
							t.Errorf("another call: %v", err)
							return
						}
					}
				})
			}
			k := newTestCall(t, c)
			for range 3 {
				limited, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				if err := ask(limited, k, "slow", 10); !errors.Is(err, context.DeadlineExceeded) && codeOf(err) != codes.DeadlineExceeded {
					t.Errorf("time-out: %v", err)
				}
				cancel()
				canceled, cancel := context.WithCancel(t.Context())
				go func() { <-toCancel; cancel() }()
				if err := ask(canceled, k, "cancel", 10); !errors.Is(err, context.Canceled) {
					t.Errorf("canceled: %v", err)
				}
				if err := ask(canceled, k, "a", 1); !errors.Is(err, context.Canceled) {
					t.Errorf("canceled before: %v", err)
				}
				if err := ask(t.Context(), k, "a", 1); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			}
			close(stop)
			others.Wait()
			for arrived.Load() != ended.Load() { // the server hears of each end
				time.Sleep(time.Millisecond)
			}
		})
	})
}

// TestServerThatStopsInOrderLosesNothing: calls go to its successor.
func TestServerThatStopsInOrderLosesNothing(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			var address atomic.Value
			server, first := serveModel(t, model{})
			address.Store(first)
			c := NewClient(func(ctx context.Context) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, "tcp", address.Load().(string))
				if err != nil {
					return nil, err
				}
				return wrap(nc), nil
			}, testOptions)
			defer c.Close()
			var calls atomic.Int64
			var stop atomic.Bool
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					k := c.NewCall()
					defer k.Close()
					for !stop.Load() {
						if err := ask(t.Context(), k, "a", 1000); err != nil {
							t.Errorf("call %d: %v", calls.Load(), err)
							return
						}
						calls.Add(1)
					}
				})
			}
			for range 4 {
				// The connection to this server stands before it stops: one that is
				// being made would be refused, which is a failure to connect.
				for before := calls.Load(); calls.Load() < before+200 && !t.Failed(); {
					time.Sleep(time.Millisecond)
				}
				next, to := serveModel(t, model{})
				address.Store(to)
				server.GracefulStop()
				server = next
			}
			stop.Store(true)
			wg.Wait()
		})
	})
}

func TestServerThatDiesFailsWhatIsOnItsWay(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			arrived := make(chan struct{}, 4)
			server, address := serveModel(t, model{before: func(ctx context.Context, _ string) error { arrived <- struct{}{}; <-ctx.Done(); return ctx.Err() }})
			c := newTestClient(t, address, wrap, testOptions)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					k := c.NewCall()
					defer k.Close()
					var lost *LostError
					if err := ask(t.Context(), k, "a", 100); !errors.As(err, &lost) {
						t.Errorf("on its way: %v", err)
					}
					var connect *ConnectError
					if err := ask(t.Context(), k, "a", 100); !errors.As(err, &connect) {
						t.Errorf("afterwards: %v", err)
					}
				})
			}
			for range 4 {
				<-arrived
			}
			server.Stop()
			wg.Wait()
		})
	})
}

// TestIdleConnectionIsKnownToBeLost: a server that went away between two calls
// fails neither.
func TestIdleConnectionIsKnownToBeLost(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			_, address := serveModel(t, model{}, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 20 * time.Millisecond}))
			c := newTestClient(t, address, wrap, testOptions)
			k := newTestCall(t, c)
			for range 3 {
				if err := ask(t.Context(), k, "a", 1); err != nil {
					t.Fatal(err)
				}
				old := c.current.Load()
				<-old.over // seen by nobody but the connection itself
			}
		})
	})
}

func TestCloseEndsCalls(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			arrived := make(chan struct{}, 1)
			_, address := serveModel(t, model{before: func(ctx context.Context, _ string) error { arrived <- struct{}{}; <-ctx.Done(); return nil }})
			c := newTestClient(t, address, wrap, testOptions)
			go func() { <-arrived; _ = c.Close() }()
			k := newTestCall(t, c)
			if err := ask(t.Context(), k, "a", 1); !errors.Is(err, errClosed) {
				t.Error(err)
			}
			if err := ask(t.Context(), k, "a", 1); !errors.Is(err, errClosed) {
				t.Error(err)
			}
		})
	})
}

func TestOverTLS(t *testing.T) {
	leakFree(t, func(t *testing.T) {
		source := httptest.NewUnstartedServer(nil)
		source.StartTLS()
		certificate := source.TLS.Certificates[0]
		source.Close()
		for _, tc := range []struct {
			protocols []string
			fails     string
		}{{[]string{"h2"}, ""}, {[]string{"http/1.1"}, "application protocol"}, {nil, "does not offer HTTP/2"}} {
			var address string
			if tc.fails == "" {
				_, address = serveModel(t, model{}, grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))
			} else {
				l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: tc.protocols})
				if err != nil {
					t.Fatal(err)
				}
				var serving sync.WaitGroup
				serving.Go(func() {
					if conn, err := l.Accept(); err == nil {
						_ = conn.(*tls.Conn).HandshakeContext(t.Context())
						_ = conn.Close()
					}
				})
				t.Cleanup(func() { _ = l.Close(); serving.Wait() })
				address = l.Addr().String()
			}
			c := newTestClient(t, address, func(nc net.Conn) net.Conn { return tls.Client(nc, clientTLS) }, testOptions)
			if tc.fails == "" {
				together(t, c, 4, 50, func(_, i int) int { return 1000 * i })
				continue
			}
			var connect *ConnectError
			if err := ask(t.Context(), newTestCall(t, c), "a", 1); !errors.As(err, &connect) || !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%v: %v", tc.protocols, err)
			}
		}
	})
}

func TestFailedDialFailsAllThatWait(t *testing.T) {
	leakFree(t, func(t *testing.T) {
		dialling, release := make(chan struct{}, 10), make(chan struct{})
		c := NewClient(func(ctx context.Context) (net.Conn, error) {
			dialling <- struct{}{}
			select {
			case <-release:
				return nil, errors.New("nobody there")
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}, testOptions)
		// The call that dials is canceled: another one dials.
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := ask(ctx, newTestCall(t, c), "a", 1); !errors.Is(err, context.Canceled) {
				t.Errorf("the call that dialled: %v", err)
			}
		})
		<-dialling
		for range 3 {
			wg.Go(func() {
				var connect *ConnectError
				if err := ask(t.Context(), newTestCall(t, c), "a", 1); !errors.As(err, &connect) || err.Error() != "nobody there" {
					t.Errorf("a call that waited: %v", err)
				}
			})
		}
		cancel()
		<-dialling
		close(release)
		wg.Wait()
		_ = c.Close()
	})
}
