package triton

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Client makes the control-plane calls to one server over HTTP. It is safe for
// concurrent use. Every error is an *Error.
type Client struct {
	http *http.Client
	base string
}

// NewClient returns a client of the server at baseURL, such as
// http://127.0.0.1:8000. hc decides how it is reached, and should have its
// transport's compression off.
func NewClient(hc *http.Client, baseURL string) *Client {
	return &Client{http: hc, base: strings.TrimRight(baseURL, "/")}
}

// maxControlAnswer bounds a control-plane answer; the statistics of a
// thousand models take about half a megabyte.
const maxControlAnswer = 64 << 20

// ServerLive is nil when the server process answers.
func (c *Client) ServerLive(ctx context.Context) error {
	_, err := c.call(ctx, "ask whether the server is live", http.MethodGet, "/v2/health/live")
	return err
}

// ServerReady is nil when the server and all of its models are ready. A server
// that loads, unloads or failed to load any model is not.
func (c *Client) ServerReady(ctx context.Context) error {
	_, err := c.call(ctx, "ask whether the server is ready", http.MethodGet, "/v2/health/ready")
	return err
}

// ModelReady is nil when the model serves requests. Unknown models are
// answered the same way as those not ready.
func (c *Client) ModelReady(ctx context.Context, name, version string) error {
	_, err := c.call(ctx, "ask whether model "+name+" is ready", http.MethodGet, modelPath(name, version)+"/ready")
	return err
}

// ServerMetadata is the server's name, version and extensions. Something that
// answers but is not Triton's HTTP endpoint gives an error of class
// ClassNotTriton that says what it looks like.
func (c *Client) ServerMetadata(ctx context.Context) (ServerMetadata, error) {
	const op = "read the server's metadata"
	reply, err := c.probe(ctx, op)
	if err != nil {
		return ServerMetadata{}, err
	}
	if err := recognise(op, reply); err != nil {
		return ServerMetadata{}, err
	}
	if err := reply.failure(op); err != nil {
		return ServerMetadata{}, err
	}
	var meta ServerMetadata
	if err := json.Unmarshal(reply.body, &meta); err != nil {
		return ServerMetadata{}, &Error{Class: ClassWrongAnswer, Op: op, Message: err.Error(), cause: err}
	}
	return meta, nil
}

// ModelMetadata describes a model's tensors; an empty version is the server's
// choice.
func (c *Client) ModelMetadata(ctx context.Context, name, version string) (ModelMetadata, error) {
	return callJSON[ModelMetadata](ctx, c, "read the metadata of model "+name, http.MethodGet, modelPath(name, version))
}

// ModelConfig is a model's configuration with what the server filled in.
func (c *Client) ModelConfig(ctx context.Context, name, version string) (ModelConfig, error) {
	return callJSON[ModelConfig](ctx, c, "read the configuration of model "+name, http.MethodGet, modelPath(name, version)+"/config")
}

// Statistics are the counters of a model's versions, or of every model with an
// empty name.
func (c *Client) Statistics(ctx context.Context, name, version string) ([]ModelStatistics, error) {
	op, path := "read the statistics of model "+name, modelPath(name, version)+"/stats"
	if name == "" {
		op, path = "read the statistics of all models", "/v2/models/stats"
	}
	body, err := c.call(ctx, op, http.MethodGet, path)
	if err != nil {
		return nil, err
	}
	stats, err := parseStatistics(body)
	if err != nil {
		return nil, &Error{Class: ClassWrongAnswer, Op: op, Message: err.Error(), cause: err}
	}
	return stats, nil
}

// RepositoryIndex lists the models that the server knows of, also those that
// are not loaded.
func (c *Client) RepositoryIndex(ctx context.Context) ([]ModelIndex, error) {
	return callJSON[[]ModelIndex](ctx, c, "list the models", http.MethodPost, "/v2/repository/index")
}

func modelPath(name, version string) string {
	path := "/v2/models/" + url.PathEscape(name)
	if version != "" {
		path += "/versions/" + url.PathEscape(version)
	}
	return path
}

func callJSON[T any](ctx context.Context, c *Client, op, method, path string) (T, error) {
	var value T
	body, err := c.call(ctx, op, method, path)
	if err != nil {
		return value, err
	}
	if err := json.Unmarshal(body, &value); err != nil {
		return value, &Error{Class: ClassWrongAnswer, Op: op, Message: fmt.Sprintf("unreadable JSON %q", shorten(string(body))), cause: err}
	}
	return value, nil
}

func (c *Client) call(ctx context.Context, op, method, path string) ([]byte, error) {
	reply, err := c.fetch(ctx, op, method, path)
	if err != nil {
		return nil, err
	}
	if err := reply.failure(op); err != nil {
		return nil, err
	}
	return reply.body, nil
}

// controlReply is an answer of any status.
type controlReply struct {
	status int
	header http.Header
	body   []byte
}

func (c *Client) fetch(ctx context.Context, op, method, path string) (*controlReply, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, http.NoBody)
	if err != nil {
		return nil, &Error{Class: ClassConnect, Op: op, cause: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var inURL *url.Error
		if errors.As(err, &inURL) {
			err = inURL.Err
		}
		failed := networkError(ctx, err, ClassConnect)
		failed.Op = op
		return nil, failed
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxControlAnswer+1))
	if err != nil {
		failed := networkError(ctx, err, ClassConnectionLost)
		failed.Op = op
		return nil, failed
	}
	if len(body) > maxControlAnswer {
		return nil, &Error{Class: ClassWrongAnswer, Op: op, Message: fmt.Sprintf("the answer is longer than %d MiB", maxControlAnswer>>20)}
	}
	return &controlReply{status: resp.StatusCode, header: resp.Header, body: body}, nil
}

func (r *controlReply) failure(op string) error {
	if r.status == http.StatusOK {
		return nil
	}
	return &Error{Class: httpClass(r.status), Status: r.status, Op: op, Message: errorMessage(r.status, r.body)}
}

// errorMessage is the text of Triton's {"error": …}, which it sends under
// several content types, or else the start of the body.
func errorMessage(status int, body []byte) string {
	var failed struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &failed) == nil {
		if text := shorten(failed.Error); text != "" {
			return text
		}
	}
	if text := shorten(string(body)); text != "" {
		return text
	}
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "no message"
}
