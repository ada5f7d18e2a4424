package h2

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// TestGoAway: calls that the server has begun with end there, the others are
// made again elsewhere, once.
func TestGoAway(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			var connections atomic.Int64
			had := make(chan string, 10)
			address := script(t, false, func(p *peer) {
				if connections.Add(1) > 1 {
					p.echo()
					return
				}
				var all []*sentRequest
				for range 3 {
					r, err := p.next()
					if err != nil {
						return
					}
					all = append(all, r)
					had <- string(r.message)
				}
				_ = p.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil) // as a warning
				_ = p.WriteGoAway(3, http2.ErrCodeNo, nil)
				for _, r := range all[:2] {
					p.answer(r.stream, answerTo(r.message))
				}
				if _, err := p.next(); err == nil {
					t.Error("a request after the goaway")
				}
			})
			c := newTestClient(t, address, wrap, testOptions)
			var wg sync.WaitGroup
			for i := range 3 {
				k := newTestCall(t, c)
				wg.Go(func() {
					if err := ask(t.Context(), k, string(rune('a'+i)), 10); err != nil {
						t.Error(err)
					}
				})
				<-had // so that the streams are in this order
			}
			wg.Wait()
			if n := connections.Load(); n != 2 {
				t.Errorf("%d connections", n)
			}
		})
	})
}

func TestRefusedStreamIsOpenedAgainOnce(t *testing.T) {
	leakFree(t, func(t *testing.T) {
		address := script(t, false, func(p *peer) {
			for n := 0; ; n++ {
				r, err := p.next()
				switch {
				case err != nil:
					return
				case n%2 == 0:
					_ = p.WriteRSTStream(r.stream, http2.ErrCodeRefusedStream)
				default:
					p.answer(r.stream, answerTo(r.message))
				}
			}
		})
		k := newTestCall(t, newTestClient(t, address, transports["tcp"], testOptions))
		for range 3 {
			if err := ask(t.Context(), k, "a", 10); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestConnectionThatEndsEachCallIsGivenUp: the attempts are bounded.
func TestConnectionThatEndsEachCallIsGivenUp(t *testing.T) {
	leakFree(t, func(t *testing.T) {
		var connections atomic.Int64
		address := script(t, false, func(p *peer) {
			connections.Add(1)
			if _, err := p.next(); err == nil {
				_ = p.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, []byte("too many"))
				_, _ = io.Copy(io.Discard, p.Conn)
			}
		})
		k := newTestCall(t, newTestClient(t, address, transports["tcp"], testOptions))
		var lost *LostError
		if err := ask(t.Context(), k, "a", 10); !errors.As(err, &lost) || connections.Load() != maxAttempts {
			t.Errorf("%v after %d connections", err, connections.Load())
		}
	})
}

func TestStreamNumbersRunOut(t *testing.T) {
	leakFree(t, func(t *testing.T) {
		var connections atomic.Int64
		address := script(t, false, func(p *peer) { connections.Add(1); p.echo() })
		c := newTestClient(t, address, transports["tcp"], testOptions)
		k := newTestCall(t, c)
		if err := ask(t.Context(), k, "a", 1); err != nil {
			t.Fatal(err)
		}
		first := c.current.Load()
		first.mu.Lock()
		first.nextStream = maxStreamID - 2
		first.mu.Unlock()
		for range 4 {
			if err := ask(t.Context(), k, "a", 1); err != nil {
				t.Error(err)
			}
		}
		if n := connections.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestEarlyAnswerEndsTheRequest: a server that answers before it has read the
// whole message is told that there will be no more of it.
func TestEarlyAnswerEndsTheRequest(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			told := make(chan http2.ErrCode, 1)
			address := script(t, false, func(p *peer) {
				for answered := false; ; {
					f, err := p.ReadFrame()
					if err != nil {
						return
					}
					switch f := f.(type) {
					case *http2.HeadersFrame:
						_, _ = p.decoder.DecodeFull(f.HeaderBlockFragment())
					case *http2.DataFrame:
						_ = p.WriteWindowUpdate(0, uint32(len(f.Data())))
						if !answered {
							answered = true
							p.headers(f.StreamID, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "8", "grpc-message", "too large")
						}
					case *http2.RSTStreamFrame:
						told <- f.ErrCode
						p.echo()
					}
				}
			})
			k := newTestCall(t, newTestClient(t, address, wrap, testOptions))
			if _, err := k.Do(t.Context(), request("a", 1_000_000)); codeOf(err) != codes.ResourceExhausted {
				t.Error(err)
			}
			if code := <-told; code != http2.ErrCodeCancel {
				t.Error(code)
			}
			if err := ask(t.Context(), k, "a", 10); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestPingsAreAnswered: during calls and between them.
func TestPingsAreAnswered(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			idle := make(chan struct{})
			address := script(t, false, func(p *peer) {
				r, err := p.next()
				if err != nil {
					return
				}
				ping := func(data [8]byte) {
					_ = p.WritePing(false, data)
					for {
						f, err := p.ReadFrame()
						if err != nil {
							t.Error(err)
							return
						}
						if f, ok := f.(*http2.PingFrame); ok {
							if !f.IsAck() || f.Data != data {
								t.Errorf("%v", f)
							}
							return
						}
					}
				}
				ping([8]byte{1, 2, 3})
				p.answer(r.stream, answerTo(r.message))
				ping([8]byte{4, 5, 6})
				ping([8]byte{7, 8, 9})
				close(idle)
				p.echo()
			})
			k := newTestCall(t, newTestClient(t, address, wrap, testOptions))
			for range 2 {
				if err := ask(t.Context(), k, "a", 10); err != nil {
					t.Error(err)
				}
				<-idle
			}
		})
	})
}

// TestCallsWaitForTheirTurn: with no stream allowed, calls wait; one is canceled
// meanwhile; the others get their turn when the server allows more.
func TestCallsWaitForTheirTurn(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			raise := make(chan struct{})
			address := script(t, true, func(p *peer) {
				_ = p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
				<-raise
				_ = p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
				p.echo()
			})
			c := newTestClient(t, address, wrap, testOptions)
			queued := func(n int) {
				for {
					if now := c.current.Load(); now != nil {
						now.mu.Lock()
						waiting := len(now.queue)
						now.mu.Unlock()
						if waiting == n {
							return
						}
					}
					time.Sleep(time.Millisecond)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := ask(ctx, newTestCall(t, c), "x", 1); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
			queued(1)
			for range 3 {
				wg.Go(func() {
					if err := ask(t.Context(), newTestCall(t, c), "a", 100); err != nil {
						t.Error(err)
					}
				})
			}
			queued(4)
			cancel()
			queued(3)
			close(raise)
			wg.Wait()
		})
	})
}

// TestServerThatStopsReading: calls time out while nothing can be written; once
// the server reads again, it gets frames in one piece, and the connection serves.
func TestServerThatStopsReading(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			resume := make(chan struct{})
			var connections atomic.Int64
			address := script(t, true, func(p *peer) {
				connections.Add(1)
				_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
				_ = p.WriteWindowUpdate(0, maxWindow-initialWindow)
				<-resume
				p.echo()
			})
			c := newTestClient(t, address, wrap, testOptions)
			if _, err := c.connection(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					k := newTestCall(t, c)
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					if _, err := k.Do(ctx, request("large", 50<<20)); !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			close(resume)
			if err := ask(t.Context(), newTestCall(t, c), "a", 100_000); err != nil {
				t.Error(err)
			}
			if n := connections.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	})
}

// TestHalfClosedConnectionIsNoticed: the server ends its direction right after
// an answer and keeps reading, of which no event tells the next call.
func TestHalfClosedConnectionIsNoticed(t *testing.T) {
	eachTransport(t, func(t *testing.T, wrap func(net.Conn) net.Conn) {
		leakFree(t, func(t *testing.T) {
			var connections atomic.Int64
			address := script(t, false, func(p *peer) {
				if connections.Add(1) > 1 {
					p.echo()
					return
				}
				r, err := p.next()
				if err != nil {
					return
				}
				p.answer(r.stream, answerTo(r.message))
				_ = p.Conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, p.Conn)
			})
			k := newTestCall(t, newTestClient(t, address, wrap, testOptions))
			if err := ask(t.Context(), k, "a", 1); err != nil {
				t.Fatal(err)
			}
			var lost *LostError
			if err := ask(t.Context(), k, "a", 1); err != nil && (!errors.As(err, &lost) || !errors.Is(err, io.EOF)) {
				t.Error(err)
			}
			if err := ask(t.Context(), k, "a", 1); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestServersThatAreNone(t *testing.T) {
	tests := []struct{ name, says, sends string }{
		{"HTTP/1", "HTTP/1.1 400 Bad Request", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"},
		{"no settings first", "does not begin with settings", "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"},
		{"settings on a stream", "settings for stream 1", "\x00\x00\x00\x04\x00\x00\x00\x00\x01"},
		{"ends at once", "before its first settings", ""},
		{"ends in a frame", "before its first settings", "\x00\x00\x06\x04"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leakFree(t, func(t *testing.T) {
				address := script(t, true, func(p *peer) { _, _ = io.WriteString(p.Conn, tt.sends) })
				k := newTestCall(t, newTestClient(t, address, transports["tcp"], testOptions))
				var connect *ConnectError
				if err := ask(t.Context(), k, "a", 1); !errors.As(err, &connect) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v", err)
				}
			})
		})
	}
	t.Run("silent", func(t *testing.T) {
		leakFree(t, func(t *testing.T) {
			address := script(t, true, func(p *peer) { _, _ = io.Copy(io.Discard, p.Conn) })
			k := newTestCall(t, newTestClient(t, address, transports["tcp"], testOptions))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			if err := ask(ctx, k, "a", 1); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	})
}

// TestCallsAllocateNothing: once the connection has been used.
func TestCallsAllocateNothing(t *testing.T) {
	answer := slices.Concat(
		frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, 0x88, 0xBE),
		frame(http2.FrameData, 0, 1, 0, 0, 0, 0, 0),
		frame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, 0xBF))
	address := script(t, false, func(p *peer) {
		r, err := p.next()
		if err != nil {
			return
		}
		// Fields of the table: 62 is the content type, 63 then the status.
		p.headers(r.stream, true, ":status", "200", "grpc-status", "0", "content-type", "application/grpc")
		in := make([]byte, 64<<10)
		for stream := uint32(3); ; stream += 2 {
			// A request comes in one piece.
			if _, err := p.Read(in); err != nil {
				return
			}
			for _, at := range []int{0, frameHeaderBytes + 2, len(answer) - frameHeaderBytes - 1} {
				answer[at+5], answer[at+6], answer[at+7], answer[at+8] = byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream)
			}
			_, _ = p.Write(answer)
		}
	})
	k := newTestCall(t, newTestClient(t, address, transports["tcp"], testOptions))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	message := request("a", 100)
	_, _ = k.Do(ctx, message) // has no message
	n := testing.AllocsPerRun(1000, func() {
		if _, err := k.Do(ctx, message); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations per call", n)
	}
}
