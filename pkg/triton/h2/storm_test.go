package h2

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestStorm: calls of all sizes, some canceled, some too slow, some refused by
// the server, on connections that are cut or replaced now and then. Each ends
// with its own answer or a reason for it, and the client serves afterwards.
func TestStorm(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			server := model{before: func(ctx context.Context, id string) error {
				switch rand.IntN(20) {
				case 0:
					return status.Error(codes.ResourceExhausted, "by chance")
				case 1, 2:
					select {
					case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
					case <-ctx.Done():
					}
				}
				return nil
			}}
			opts := []grpc.ServerOption{grpc.MaxConcurrentStreams(5)}
			var address atomic.Value
			current, at := serveModel(t, server, opts...)
			address.Store(at)
			var mu sync.Mutex
			var last net.Conn
			dial := func(ctx context.Context) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, "tcp", address.Load().(string))
				if err != nil {
					return nil, err
				}
				mu.Lock()
				defer mu.Unlock()
				last = nc
				return wrap(nc), nil
			}
			options := testOptions
			options.receiveWindow = 200_000
			c := NewClient(dial, options)
			defer c.Close()
			stop := make(chan struct{})
			var troubles sync.WaitGroup
			troubles.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(25 * time.Millisecond):
					}
					if n%2 == 0 {
						mu.Lock()
						_ = last.Close()
						mu.Unlock()
						continue
					}
					next, at := serveModel(t, server, opts...)
					address.Store(at)
					current.GracefulStop()
					current = next
				}
			})
			var outcomes [5]atomic.Int64
			var workers sync.WaitGroup
			for w := range 12 {
				workers.Go(func() {
					k := c.NewCall()
					defer k.Close()
					random := rand.New(rand.NewPCG(uint64(w), 1))
					shared, cancelShared := context.WithCancel(t.Context())
					defer cancelShared()
					for i := range 150 {
						ctx, cancel := shared, context.CancelFunc(func() {})
						switch random.IntN(6) {
						case 0:
							ctx, cancel = context.WithTimeout(t.Context(), time.Duration(random.IntN(10))*time.Millisecond)
						case 1:
							ctx, cancel = context.WithCancel(t.Context())
							time.AfterFunc(time.Duration(random.IntN(3000))*time.Microsecond, cancel)
						}
						size := random.IntN(300)
						if random.IntN(20) == 0 {
							size = random.IntN(500_000)
						}
						err := ask(ctx, k, fmt.Sprintf("%c-%d-%d", 'a'+w, w, i), size)
						var lost *LostError
						var connect *ConnectError
						switch code := codeOf(err); {
						case err == nil:
							outcomes[0].Add(1)
						case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), code == codes.DeadlineExceeded, code == codes.Canceled:
							outcomes[1].Add(1)
							if ctx == shared {
								t.Errorf("%v, of a call without an end", err)
							}
						case code == codes.ResourceExhausted:
							outcomes[2].Add(1)
						case errors.As(err, &lost):
							outcomes[3].Add(1)
						case errors.As(err, &connect):
							outcomes[4].Add(1)
						default:
							t.Errorf("%T %v", err, err)
						}
						cancel()
					}
				})
			}
			workers.Wait()
			close(stop)
			troubles.Wait()
			if err := ask(t.Context(), newTestCall(t, c), "a", 100); err != nil && codeOf(err) != codes.ResourceExhausted {
				var lost *LostError // the last cut may be seen only now
				if !errors.As(err, &lost) {
					t.Error(err)
				}
			}
			t.Logf("answered %d, ended %d, refused %d, lost %d, not connected %d", outcomes[0].Load(), outcomes[1].Load(), outcomes[2].Load(), outcomes[3].Load(), outcomes[4].Load())
			if outcomes[0].Load() == 0 || outcomes[1].Load() == 0 {
				t.Error("none of a kind")
			}
		})
	})
}
