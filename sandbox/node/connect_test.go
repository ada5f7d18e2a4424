package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestNetworkConnectsForTLS(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, conn)
		conn.Close()
	}()
	network := NewNetwork()
	network.publish(netip.MustParseAddr("10.244.0.3"), 10250, listener.Addr().String())
	proxy := httptest.NewServer(network)
	defer proxy.Close()
	ask := func(target string) (*bufio.Reader, net.Conn, int) {
		t.Helper()
		conn, err := net.Dial("tcp", proxy.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
		reader := bufio.NewReader(conn)
		response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
		if err != nil {
			t.Fatal(err)
		}
		return reader, conn, response.StatusCode
	}
	reader, conn, status := ask("10.244.0.3:10250")
	defer conn.Close()
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := reader.ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("echo %q, %v", line, err)
	}
	_, refused, status := ask("10.244.0.3:1")
	refused.Close()
	if status != http.StatusBadGateway {
		t.Errorf("a port where nothing listens: status %d", status)
	}
}
