package controlplane

import (
	"errors"
	"io"
	"net"
	"testing"
)

func TestGateCutsAndListensAgain(t *testing.T) {
	g, err := newGate()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			conn, err := g.Accept()
			if err != nil {
				ended <- err
				return
			}
			go func() { _, _ = io.Copy(conn, conn); conn.Close() }()
		}
	}()
	echo := func() (net.Conn, error) {
		conn, err := net.Dial("tcp", g.Addr().String())
		if err != nil {
			return nil, err
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			return conn, err
		}
		_, err = io.ReadFull(conn, make([]byte, 1))
		return conn, err
	}
	before, err := echo()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	for range 2 { // twice: shutting what is shut changes nothing
		if err := g.shut(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := before.Read(make([]byte, 1)); err == nil {
		t.Error("the connection was not cut")
	}
	if conn, err := net.Dial("tcp", g.Addr().String()); err == nil {
		conn.Close()
		t.Error("a new connection was accepted")
	}
	if err := g.open(); err != nil {
		t.Fatal(err)
	}
	after, err := echo()
	if err != nil {
		t.Fatalf("no answer after opening: %v", err)
	}
	after.Close()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept ended with %v", err)
	}
}
