package portforward

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"

	constants "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// roundTrips exchanges 256-byte messages on n connections, b.N in all. The
// benchmarks include the API server's and the node's part, in this process.
func roundTrips(b *testing.B, conns []io.ReadWriter) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, c := range conns {
		n := b.N / len(conns)
		if i < b.N%len(conns) {
			n++
		}
		wg.Go(func() {
			message, got := make([]byte, 256), make([]byte, 256)
			for range n {
				if _, err := c.Write(message); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, got); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, n := range []int{1, 16, 64} {
		b.Run("conn/"+strconv.Itoa(n), func(b *testing.B) {
			c := tritonCluster(b)
			e := c.dialer(TransportSPDY, func(config *Config) { config.Logf = nil }).Service("triton", "triton-infer", "http")
			var conns []io.ReadWriter
			for range n {
				conns = append(conns, dial(b, e))
			}
			roundTrips(b, conns)
		})
		b.Run("library/"+strconv.Itoa(n), func(b *testing.B) {
			c := tritonCluster(b)
			roundTrips(b, libraryStreams(b, c.config(), c.server.URL+"/api/v1/namespaces/triton/pods/triton-0/portforward", 8000, n))
		})
	}
}

// libraryStreams are data streams of client-go's, for comparison.
func libraryStreams(b *testing.B, config *rest.Config, target string, port, n int) []io.ReadWriter {
	roundTripper, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		b.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, target, nil)
	if err != nil {
		b.Fatal(err)
	}
	connection, _, err := spdy.Negotiate(upgrader, &http.Client{Transport: roundTripper}, request, constants.PortForwardV1Name)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { connection.Close() })
	var streams []io.ReadWriter
	for i := range n {
		header := http.Header{headerPort: {strconv.Itoa(port)}, headerRequestID: {strconv.Itoa(i)}}
		var stream httpstream.Stream
		for _, kind := range []string{"error", "data"} {
			header.Set(headerStreamType, kind)
			if stream, err = connection.CreateStream(header); err != nil {
				b.Fatal(err)
			}
		}
		streams = append(streams, stream)
	}
	return streams
}

func BenchmarkDial(b *testing.B) {
	c := tritonCluster(b)
	e := c.dialer(TransportSPDY, func(config *Config) { config.Logf = nil }).Service("triton", "triton-infer", "http")
	dial(b, e)
	b.ReportAllocs()
	for b.Loop() {
		conn, err := e.DialContext(context.Background(), "", "")
		if err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
}

func BenchmarkBulk(b *testing.B) {
	c := tritonCluster(b)
	c.listen("triton-0", 8002, func(pod net.Conn) {
		chunk := make([]byte, 64<<10)
		for {
			if _, err := pod.Write(chunk); err != nil {
				return
			}
		}
	})
	conn := dial(b, c.dialer(TransportSPDY).Service("triton", "triton-infer", "metrics"))
	buffer := make([]byte, 64<<10)
	b.SetBytes(int64(len(buffer)))
	for b.Loop() {
		if _, err := io.ReadFull(conn, buffer); err != nil {
			b.Fatal(err)
		}
	}
}
