package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// transports are the ways that a client takes: system calls of its own on plain
// TCP, and any net.Conn.
var transports = map[string]func(net.Conn) net.Conn{
	"tcp":      func(c net.Conn) net.Conn { return c },
	"net.Conn": func(c net.Conn) net.Conn { return struct{ net.Conn }{c} },
}

func eachTransport(t *testing.T, test func(t *testing.T, wrap func(net.Conn) net.Conn)) {
	for name, wrap := range transports {
		t.Run(name, func(t *testing.T) { test(t, wrap) })
	}
}

var testOptions = Options{Authority: "triton", Method: "/inference.GRPCInferenceService/ModelInfer", UserAgent: "kubectl-triton"}

func newTestClient(t testing.TB, address string, wrap func(net.Conn) net.Conn, opts Options) *Client {
	c := NewClient(func(ctx context.Context) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return wrap(nc), nil
	}, opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newTestCall(t testing.TB, c *Client) *Call {
	k := c.NewCall()
	t.Cleanup(k.Close)
	return k
}

// request is a message with an id and a body of a size.
func request(id string, size int) []byte {
	body := bytes.Repeat([]byte(id[:1]), size)
	m, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, PrefixBytes), &inferencepb.ModelInferRequest{ModelName: "m", Id: id, RawInputContents: [][]byte{body}})
	if err != nil {
		panic(err)
	}
	PutPrefix(m)
	return m
}

// model answers each request with its own id and contents, after before.
type model struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
	before func(ctx context.Context, id string) error
}

func (m model) ModelInfer(ctx context.Context, r *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
	if m.before != nil {
		if err := m.before(ctx, r.GetId()); err != nil {
			return nil, err
		}
	}
	return &inferencepb.ModelInferResponse{ModelName: r.GetModelName(), Id: r.GetId(), RawOutputContents: r.GetRawInputContents()}, nil
}

func serveModel(t testing.TB, m model, opts ...grpc.ServerOption) (*grpc.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(append([]grpc.ServerOption{grpc.MaxRecvMsgSize(1 << 30), grpc.MaxSendMsgSize(1 << 30)}, opts...)...)
	inferencepb.RegisterGRPCInferenceServiceServer(s, m)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return s, l.Addr().String()
}

// ask makes a call and compares the answer with the request.
func ask(ctx context.Context, k *Call, id string, size int) error {
	answer, err := k.Do(ctx, request(id, size))
	if err != nil {
		return err
	}
	var r inferencepb.ModelInferResponse
	if err := proto.Unmarshal(answer, &r); err != nil {
		return err
	}
	if r.GetId() != id || len(r.GetRawOutputContents()) != 1 || !bytes.Equal(r.GetRawOutputContents()[0], bytes.Repeat([]byte(id[:1]), size)) {
		return errors.New("the answer belongs to another request")
	}
	return nil
}

func codeOf(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	if st, ok := status.FromError(err); ok {
		return st.Code()
	}
	return codes.Code(99)
}

// peer is the server's side of a connection, frame by frame.
type peer struct {
	t testing.TB
	net.Conn
	*http2.Framer
	decoder *hpack.Decoder
	encoder *hpack.Encoder
	encoded bytes.Buffer
	open    map[uint32]*sentRequest
	resets  []http2.ErrCode // that the client sent
	silent  bool            // it gives no window back
}

// script serves each connection by a function, with the client's preface read
// and, unless it is told not to, settings exchanged.
func script(t testing.TB, raw bool, handle func(p *peer)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				handle(newPeer(t, conn, raw))
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}

func newPeer(t testing.TB, conn net.Conn, raw bool) *peer {
	p := &peer{t: t, Conn: conn, open: map[uint32]*sentRequest{}}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	begin := make([]byte, len(preface))
	if _, err := io.ReadFull(conn, begin); err != nil || string(begin) != preface {
		return p
	}
	p.Framer = http2.NewFramer(conn, conn)
	p.AllowIllegalWrites, p.AllowIllegalReads = true, true
	p.decoder = hpack.NewDecoder(4096, nil)
	p.encoder = hpack.NewEncoder(&p.encoded)
	if !raw {
		_ = p.WriteSettings()
	}
	return p
}

// sentRequest is a request as the server has it.
type sentRequest struct {
	stream  uint32
	header  []hpack.HeaderField
	message []byte
	frames  []int // lengths of the DATA frames
	ended   bool  // END_STREAM was on the last DATA frame
}

// next reads up to the end of the next request.
func (p *peer) next() (*sentRequest, error) {
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return nil, err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = p.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			fields, err := p.decoder.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				p.t.Errorf("the client's headers: %v", err)
				return nil, err
			}
			p.open[f.StreamID] = &sentRequest{stream: f.StreamID, header: fields}
		case *http2.DataFrame:
			r := p.open[f.StreamID]
			if n := uint32(len(f.Data())); n > 0 && !p.silent {
				_ = p.WriteWindowUpdate(0, n)
				_ = p.WriteWindowUpdate(f.StreamID, n)
			}
			r.message = append(r.message, f.Data()...)
			r.frames = append(r.frames, len(f.Data()))
			if f.StreamEnded() {
				r.ended = true
				delete(p.open, f.StreamID)
				return r, nil
			}
		case *http2.RSTStreamFrame:
			p.resets = append(p.resets, f.ErrCode)
			delete(p.open, f.StreamID)
		case *http2.GoAwayFrame:
			return nil, errors.New("the client ended the connection")
		}
	}
}

// block encodes a header block.
func (p *peer) block(pairs ...string) []byte {
	p.encoded.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = p.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return bytes.Clone(p.encoded.Bytes())
}

func (p *peer) headers(stream uint32, ends bool, pairs ...string) {
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.block(pairs...), EndHeaders: true, EndStream: ends})
}

// answer is a good one.
func (p *peer) answer(stream uint32, message []byte) {
	p.headers(stream, false, ":status", "200", "content-type", "application/grpc")
	for piece := range slices.Chunk(message, maxFrameBytes) {
		_ = p.WriteData(stream, false, piece)
	}
	p.headers(stream, true, "grpc-status", "0", "grpc-message", "")
}

// answerTo is the model's answer to a message.
func answerTo(message []byte) []byte {
	var r inferencepb.ModelInferRequest
	if err := proto.Unmarshal(message[PrefixBytes:], &r); err != nil {
		panic(err)
	}
	answer, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, PrefixBytes), &inferencepb.ModelInferResponse{Id: r.GetId(), RawOutputContents: r.GetRawInputContents()})
	if err != nil {
		panic(err)
	}
	PutPrefix(answer)
	return answer
}

// echo answers requests with what they hold.
func (p *peer) echo() {
	for {
		r, err := p.next()
		if err != nil {
			return
		}
		p.answer(r.stream, answerTo(r.message))
	}
}

var clientTLS = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
