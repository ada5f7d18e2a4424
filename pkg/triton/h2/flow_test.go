package h2

import (
	"net"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// TestFlowControlOfTheServerIsKept: with windows of a few bytes, which a setting
// makes negative in between, a message arrives whole and never too early.
func TestFlowControlOfTheServerIsKept(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			const size = 150_000
			address := script(t, true, func(p *peer) {
				_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
				window, connection, got, step := int64(10), int64(initialWindow), 0, 0
				var stream uint32
				for {
					f, err := p.ReadFrame()
					if err != nil {
						return
					}
					switch f := f.(type) {
					case *http2.HeadersFrame:
						stream = f.StreamID
					case *http2.DataFrame:
						n := int64(len(f.Data()))
						window -= n
						connection -= n
						if window < 0 || connection < 0 || n > maxFrameBytes {
							t.Errorf("%d bytes make the windows %d and %d", n, window, connection)
							return
						}
						got += int(n)
						if f.StreamEnded() {
							p.headers(stream, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "5")
							got, window, step = 0, 10, 0
							continue
						}
						if step++; step == 3 {
							// Of the open stream 5 less, of later ones too.
							_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5})
							window -= 5
							_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
							window += 5
						}
						more := uint32(1 + 997*step%20000)
						_ = p.WriteWindowUpdate(stream, more)
						_ = p.WriteWindowUpdate(0, uint32(n))
						window, connection = window+int64(more), connection+n
					}
				}
			})
			k := newTestCall(t, newTestClient(t, address, wrap, testOptions))
			for range 3 {
				if _, err := k.Do(t.Context(), request("a", size)); codeOf(err) != codes.NotFound {
					t.Error(err)
				}
			}
		})
	})
}

// TestWindowsAreGivenBack: the server hears of all that was read, not of each
// frame.
func TestWindowsAreGivenBack(t *testing.T) {
	leakFree(t, func(t *testing.T) {
		const window, size = 100_000, 3_000_000
		address := script(t, true, func(p *peer) {
			_ = p.WriteSettings()
			updates := 0
			room := map[uint32]int{}
			read := func() bool {
				f, err := p.ReadFrame()
				switch f := f.(type) {
				case *http2.SettingsFrame:
					if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
						if v != window {
							t.Errorf("initial window %d", v)
						}
						room[0] = initialWindow
					}
				case *http2.WindowUpdateFrame:
					updates++
					room[f.StreamID] += int(f.Increment)
				case *http2.HeadersFrame:
					room[f.StreamID] += window
				}
				return err == nil
			}
			for room[1] == 0 {
				if !read() {
					return
				}
			}
			p.headers(1, false, ":status", "200", "content-type", "application/grpc")
			answer := answerTo(request("a", size))
			for len(answer) > 0 {
				n := min(len(answer), room[0], room[1], 10_000)
				if n == 0 {
					if !read() {
						return
					}
					continue
				}
				_ = p.WriteData(1, false, answer[:n])
				answer = answer[n:]
				room[0], room[1] = room[0]-n, room[1]-n
			}
			p.headers(1, true, "grpc-status", "0")
			if updates < 2*size/window || updates > 5*size/window {
				t.Errorf("%d window updates", updates)
			}
		})
		opts := testOptions
		opts.receiveWindow = window
		if err := ask(t.Context(), newTestCall(t, newTestClient(t, address, transports["tcp"], opts)), "a", size); err != nil {
			t.Error(err)
		}
	})
}

func TestReceiveWindow(t *testing.T) {
	w := receiveWindow{size: 10}
	for i, step := range []struct {
		take      int
		increment uint32
		ok        bool
	}{{4, 0, true}, {0, 0, true}, {1, 5, true}, {4, 0, true}, {6, 10, true}, {10, 10, true}, {4, 0, true}, {7, 0, false}} {
		if increment, ok := w.take(step.take); increment != step.increment || ok != step.ok {
			t.Errorf("step %d: %d, %t", i, increment, ok)
		}
	}
}
