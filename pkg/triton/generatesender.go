package triton

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// ClassStreamError is an error that arrived under status 200.
const ClassStreamError = "http stream error"

// GenerateOptions of a sender.
type GenerateOptions struct {
	// Stream asks for the answer in pieces (generate_stream) instead of whole.
	Stream bool
	// Host of the requests' Host header; empty means "triton".
	Host string
	// UserAgent of the requests; empty means "kubectl-triton".
	UserAgent string
	// Timeout of one request, besides the deadline of its context; 0 is none.
	Timeout time.Duration
}

// generateSender keeps one connection alive. It leaves HTTP to net/http: a
// language model's answer takes so long that its cost does not matter.
type generateSender struct {
	transport *http.Transport
	url       string
	agent     string
	stream    bool
	timeout   time.Duration
	request   request
	encoder   generateRequest
	bytes     []byte
	events    eventReader
	answer    bytes.Buffer
}

// NewGenerateSender returns a sender for Triton's generate extension, which
// takes text and whatever else is flat as JSON. The spec is one built with
// RequestOptions.Generate. Streamed, a response is an event
// with text. Errors are *RequestError.
func NewGenerateSender(dial DialFunc, spec *RequestSpec, opts GenerateOptions) (StreamSender, error) {
	if err := spec.checkGenerate(); err != nil {
		return nil, err
	}
	host := opts.Host
	if host == "" {
		host = "triton"
	}
	path := "/v2/models/" + url.PathEscape(spec.model)
	if spec.version != "" {
		path += "/versions/" + url.PathEscape(spec.version)
	}
	path += "/generate"
	if opts.Stream {
		path += "_stream"
	}
	return &generateSender{
		transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				if err != nil {
					return nil, &dialError{err}
				}
				return conn, nil
			},
			DisableCompression: true,
			MaxConnsPerHost:    1,
		},
		url: "http://" + host + path, agent: cmp.Or(opts.UserAgent, defaultUserAgent), stream: opts.Stream, timeout: opts.Timeout,
		request: request{spec: spec},
		encoder: generateRequest{spec: spec, gen: newGenerator(spec), stream: opts.Stream},
	}, nil
}

// dialError tells a connection that could not be made from one that was lost.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func (s *generateSender) Prepare(seq uint64) {
	if variant, _, built := s.request.choose(seq); !built {
		s.bytes = s.encoder.build(seq, variant)
	}
}

func (s *generateSender) Send(ctx context.Context, seq uint64) (Reply, error) {
	return s.SendStream(ctx, seq, func(int) {})
}

// SendStream is Send that tells each response.
func (s *generateSender) SendStream(ctx context.Context, seq uint64, arrived func(tokens int)) (Reply, error) {
	s.Prepare(seq)
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	reply, err := s.exchange(ctx, arrived)
	s.request.sent(err != nil)
	if err != nil {
		return Reply{}, err
	}
	reply.Inferences = 1
	return reply, nil
}

func (s *generateSender) exchange(ctx context.Context, arrived func(int)) (Reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(s.bytes))
	if err != nil {
		return Reply{}, &Error{Class: ClassConnect, cause: err}
	}
	req.GetBody = nil // net/http must not send a request twice
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.agent)
	answer, err := s.transport.RoundTrip(req)
	if err != nil {
		class := ClassConnectionLost
		if dial := (*dialError)(nil); errors.As(err, &dial) {
			class, err = ClassConnect, dial.err
		}
		return Reply{}, networkError(ctx, err, class)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		if err != nil {
			return Reply{}, networkError(ctx, err, ClassConnectionLost)
		}
		// generate_stream writes its errors as events.
		body = bytes.TrimPrefix(body, []byte("data: "))
		return Reply{}, &Error{Class: httpClass(answer.StatusCode), Status: answer.StatusCode, Message: errorMessage(answer.StatusCode, body)}
	}
	if s.stream {
		return s.readEvents(ctx, answer.Body, arrived)
	}
	return s.readWhole(ctx, answer.Body, arrived)
}

func (s *generateSender) readWhole(ctx context.Context, body io.Reader, arrived func(int)) (Reply, error) {
	s.answer.Reset()
	if _, err := s.answer.ReadFrom(io.LimitReader(body, maxGenerated+1)); err != nil {
		return Reply{}, networkError(ctx, err, ClassConnectionLost)
	}
	if s.answer.Len() > maxGenerated {
		return Reply{}, wrongAnswer("an answer of more than %d MiB", maxGenerated>>20)
	}
	g, err := s.request.spec.checkGenerated(s.answer.Bytes())
	if err != nil {
		return Reply{}, err
	}
	arrived(g.tokens)
	return Reply{Bytes: s.answer.Len(), Responses: 1}, nil
}

// maxGenerated bounds the memory of a whole answer.
const maxGenerated = 64 << 20

func (s *generateSender) readEvents(ctx context.Context, body io.Reader, arrived func(int)) (Reply, error) {
	var reply Reply
	s.events.reset(body)
	for events := 0; ; events++ {
		data, err := s.events.next()
		switch {
		case errors.Is(err, io.EOF):
			if events == 0 && s.events.started {
				return Reply{}, wrongAnswer("it is not a stream of events")
			}
			return reply, nil
		case errors.Is(err, errEventTruncated), errors.Is(err, errEventTooLong):
			return Reply{}, wrongAnswer("%v", err)
		case err != nil:
			return Reply{}, networkError(ctx, err, ClassConnectionLost)
		}
		reply.Bytes += len(data)
		g, err := s.request.spec.checkGenerated(data)
		if err != nil {
			return Reply{}, err
		}
		if g.tokens > 0 {
			reply.Responses++
			arrived(g.tokens)
		}
	}
}

// Close frees the connection.
func (s *generateSender) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}
