package triton

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"time"
)

// HTTPOptions of a sender.
type HTTPOptions struct {
	// Binary sends tensors as binary data and asks for such answers; otherwise
	// both are JSON.
	Binary bool
	// Host of the requests' Host header; empty means "triton".
	Host string
	// UserAgent of the requests; empty means "kubectl-triton".
	UserAgent string
	// Timeout of one request, besides the deadline of its context; 0 is none.
	Timeout time.Duration
}

// httpSender keeps one connection alive. It writes HTTP/1.1 itself: net/http
// costs about twice the CPU time per request, which a load generator's own
// machine doesn't have to give.
type httpSender struct {
	dial    DialFunc
	host    string
	timeout time.Duration
	request request
	encoder *httpRequest
	checker replyChecker
	answer  httpResponse

	conn   *boundConn // nil while there is none
	reader *bufio.Reader
	bytes  []byte
}

// NewHTTPSender returns a sender that dials on its first request, and again
// after an error or when the server closed the connection: that request's time
// then includes the connecting.
func NewHTTPSender(dial DialFunc, spec *RequestSpec, opts HTTPOptions) (Sender, error) {
	if spec.decoupled {
		return nil, &RequestError{Model: spec.model, Problem: "it is decoupled (any number of responses per request), which Triton's HTTP endpoint does not support", Hint: "use gRPC"}
	}
	if !opts.Binary {
		if err := spec.checkJSONEncoding(); err != nil {
			return nil, err
		}
	}
	host := opts.Host
	if host == "" {
		host = "triton"
	}
	return &httpSender{
		dial: dial, host: host, timeout: opts.Timeout,
		request: request{spec: spec},
		encoder: newHTTPRequest(spec, host, opts.UserAgent, opts.Binary),
		checker: replyChecker{spec: spec},
		reader:  bufio.NewReaderSize(nil, 16<<10),
	}, nil
}

func (s *httpSender) Prepare(seq uint64) {
	variant, step, built := s.request.choose(seq)
	if !built {
		s.bytes = s.encoder.build(seq, variant, step)
	}
}

func (s *httpSender) Send(ctx context.Context, seq uint64) (Reply, error) {
	s.Prepare(seq)
	err := s.exchange(ctx)
	s.request.sent(err != nil)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Inferences: s.request.spec.batch, Bytes: len(s.answer.body), Responses: 1}, nil
}

func (s *httpSender) exchange(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return networkError(ctx, err, ClassCanceled)
	}
	now := time.Now()
	deadline, _ := ctx.Deadline()
	if s.timeout > 0 {
		if limit := now.Add(s.timeout); deadline.IsZero() || limit.Before(deadline) {
			deadline = limit
		}
	}
	if s.conn == nil {
		if err := s.connect(ctx, deadline); err != nil {
			return networkError(ctx, err, ClassConnect)
		}
	}
	if err := s.conn.begin(ctx, now, deadline); err != nil {
		s.drop()
		return networkError(ctx, err, ClassConnectionLost)
	}
	s.conn.request(s.bytes)
	// A server may answer and close before it has read the whole request, so
	// that an answer counts more than a failed write.
	started, err := s.answer.read(s.reader)
	writeErr, readErr := s.conn.writeErr, s.conn.readErr
	if err != nil || writeErr != nil || s.answer.close || s.reader.Buffered() > 0 {
		s.drop()
	}
	if err != nil {
		var protocol *protocolError
		switch {
		case errors.As(err, &protocol):
			return wrongAnswer("%s", protocol.problem)
		case readErr == nil:
			return wrongAnswer("its chunks can't be read: %v", err)
		case writeErr != nil && !started:
			err = writeErr
		}
		return networkError(ctx, err, ClassConnectionLost)
	}
	if s.answer.status != http.StatusOK {
		return &Error{Class: httpClass(s.answer.status), Status: s.answer.status, Message: errorMessage(s.answer.status, s.answer.body)}
	}
	if err := s.checker.check(s.answer.body, s.answer.headBytes); err != nil {
		return err
	}
	return s.checker.validate(s.request.variant)
}

func (s *httpSender) connect(ctx context.Context, deadline time.Time) error {
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	conn, err := s.dial(ctx, "tcp", s.host)
	if err != nil {
		return err
	}
	s.conn = newBoundConn(conn)
	s.reader.Reset(s.conn)
	return nil
}

func (s *httpSender) drop() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// Close frees the connection.
func (s *httpSender) Close() error {
	s.drop()
	return nil
}
