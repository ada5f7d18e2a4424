package triton

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// TestUserAgent: every way of sending says who sends, as its options have it.
func TestUserAgent(t *testing.T) {
	const agent = "kubectl-triton/v1.2.3"
	heard := make(chan string, 16)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard <- r.UserAgent()
		w.WriteHeader(http.StatusTeapot)
	}))
	defer web.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rpc := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		heard <- strings.Join(md.Get("user-agent"), ",")
		return status.Error(codes.Unimplemented, "")
	}))
	go func() { _ = rpc.Serve(listener) }()
	defer rpc.Stop()
	model, shapes := everyShapeModel(0, []Datatype{FP32}, 0)
	spec := build(t, model, RequestOptions{Shapes: shapes})
	over := map[string]func() (Sender, error){
		"HTTP": func() (Sender, error) {
			return NewHTTPSender(dialTo(web.Listener.Addr().String()), spec, HTTPOptions{Binary: true, UserAgent: agent})
		},
		"generate": func() (Sender, error) {
			return NewGenerateSender(dialTo(web.Listener.Addr().String()), build(t, languageModel(), RequestOptions{Generate: true}), GenerateOptions{UserAgent: agent})
		},
	}
	cc, err := NewGRPCConnection(dialTo(listener.Addr().String()), GRPCAddress{UserAgent: agent})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	for name, stream := range map[string]bool{"gRPC": false, "gRPC stream": true} {
		over[name] = func() (Sender, error) { return NewGRPCSender(cc, spec, GRPCOptions{Stream: stream}) }
	}
	for name, open := range over {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Send(t.Context(), 0); err == nil {
			t.Errorf("%s: an answer from nobody", name)
		}
		if got := <-heard; got != agent && !strings.HasPrefix(got, agent+" grpc-go/") {
			t.Errorf("%s says it is %q", name, got)
		}
		_ = s.Close()
	}
}
