// Command target is a bare KServe v2 server for measuring load generators: it
// reads a request, computes nothing and answers with bytes made beforehand, so
// that what is measured is the client. Its one model, "simple", has two inputs
// and two outputs INT32[1,16].
//
// It listens on free ports of the loopback interface, prints them as "http
// ADDRESS" and "grpc ADDRESS", and ends when its standard input is closed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
)

func main() {
	every := flag.Duration("stall-every", 0, "stop answering once in this time; 0 for never")
	length := flag.Duration("stall-for", 200*time.Millisecond, "how long to stop answering")
	flag.Parse()
	// One core: the other ones are the client's.
	runtime.GOMAXPROCS(1)
	if err := run(newStall(*every, *length)); err != nil {
		fmt.Fprintln(os.Stderr, "target:", err)
		os.Exit(1)
	}
}

func run(s *stall) error {
	http, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	rpc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, http.Close())
	}
	server := grpc.NewServer()
	registerGRPC(server, s)
	reflection.Register(server) // for clients that have no definition of their own
	ended := make(chan error, 2)
	go func() { ended <- serveHTTP(http, s) }()
	go func() { ended <- server.Serve(rpc) }()
	fmt.Printf("http %s\ngrpc %s\n", http.Addr(), rpc.Addr())

	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case <-ctx.Done():
		server.Stop()
		return http.Close()
	case err := <-ended:
		return err
	}
}
