package h2

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// record returns the requests that make sends to a server that answers well.
func record(t *testing.T, n int, send func(address string)) []*sentRequest {
	got := make(chan *sentRequest, n)
	address := script(t, false, func(p *peer) {
		for {
			r, err := p.next()
			if err != nil {
				return
			}
			got <- r
			// A request's bytes are an answer too: both have a name in field 1.
			p.answer(r.stream, []byte{0, 0, 0, 0, 0})
		}
	})
	send(address)
	var all []*sentRequest
	for range n {
		all = append(all, <-got)
	}
	return all
}

// TestRequestsAreThoseOfTheReference: frame by frame, a server can't tell this
// client from gRPC's own library, but for the time-out's unit and the user agent.
func TestRequestsAreThoseOfTheReference(t *testing.T) {
	const n = 4
	var messages [][]byte
	for i := range n {
		messages = append(messages, request(fmt.Sprint(i), []int{0, 10, 16384 - 40, 40000}[i]))
	}
	for _, timeout := range []time.Duration{0, 90 * time.Second} {
		limit := func() (context.Context, context.CancelFunc) {
			if timeout == 0 {
				return context.WithCancel(t.Context())
			}
			return context.WithTimeout(t.Context(), timeout)
		}
		want := record(t, n, func(address string) {
			cc, err := grpc.NewClient("passthrough:///triton", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "tcp", address)
				}))
			if err != nil {
				t.Fatal(err)
			}
			defer cc.Close()
			for _, m := range messages {
				var r inferencepb.ModelInferRequest
				if err := proto.Unmarshal(m[PrefixBytes:], &r); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := limit()
				if _, err := inferencepb.NewGRPCInferenceServiceClient(cc).ModelInfer(ctx, &r); err != nil {
					t.Fatal(err)
				}
				cancel()
			}
		})
		eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
			got := record(t, n, func(address string) {
				k := newTestCall(t, newTestClient(t, address, wrap, testOptions))
				for _, m := range messages {
					ctx, cancel := limit()
					if _, err := k.Do(ctx, m); err != nil {
						t.Fatal(err)
					}
					cancel()
				}
			})
			for i := range got {
				g, w := got[i], want[i]
				if g.stream != w.stream || g.ended != w.ended || !bytes.Equal(g.message, w.message) {
					t.Errorf("request %d: stream %d, ended %t, %d bytes; the reference: stream %d, ended %t, %d bytes", i, g.stream, g.ended, len(g.message), w.stream, w.ended, len(w.message))
				}
				if slices.Max(g.frames) > maxFrameBytes {
					t.Errorf("request %d: frames of %v bytes", i, g.frames)
				}
				compareHeaders(t, g.header, w.header)
			}
		})
	}
}

func compareHeaders(t *testing.T, got, want []hpack.HeaderField) {
	t.Helper()
	list := func(fields []hpack.HeaderField) []string {
		var all []string
		for _, f := range fields {
			switch f.Name {
			case "user-agent":
				f.Value = ""
			case "grpc-timeout":
				d, err := parseTimeout(f.Value)
				if err != nil || d > 90*time.Second || d < 89*time.Second {
					t.Errorf("time-out %q", f.Value)
				}
				f.Value = ""
			}
			all = append(all, f.Name+": "+f.Value)
		}
		return all
	}
	// Their order is free but for pseudo-header fields, which come first.
	g, w := list(got), list(want)
	for i, name := range []string{":method: POST", ":scheme: http", ":path: " + testOptions.Method, ":authority: triton"} {
		if g[i] != name {
			t.Errorf("field %d is %q", i, g[i])
		}
	}
	slices.Sort(g)
	slices.Sort(w)
	if !slices.Equal(g, w) {
		t.Errorf("headers %v\nthe reference: %v", g, w)
	}
}

// parseTimeout reads a time-out as the protocol has it.
func parseTimeout(s string) (time.Duration, error) {
	var n int64
	var unit rune
	if _, err := fmt.Sscanf(s, "%d%c", &n, &unit); err != nil {
		return 0, fmt.Errorf("time-out %q: %w", s, err)
	}
	if len(s) > 9 {
		return 0, fmt.Errorf("time-out %q is too long", s)
	}
	d, ok := map[rune]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': 1}[unit]
	if !ok {
		return 0, fmt.Errorf("time-out %q", s)
	}
	return time.Duration(n) * d, nil
}

func TestTimeoutsAreRoundedUp(t *testing.T) {
	for _, d := range []time.Duration{1, time.Millisecond, time.Millisecond + 1, 10 * time.Second, 99_999_999 * time.Millisecond, 99_999_999*time.Millisecond + 1, 1e5 * time.Hour, math.MaxInt64 - time.Hour} {
		text := string(appendTimeout(nil, d))
		got, err := parseTimeout(text)
		if err != nil || got < d || float64(got-d) > max(float64(time.Millisecond), 0.02*float64(d)) {
			t.Errorf("%v is %q, %v, %v", d, text, got, err)
		}
	}
}
