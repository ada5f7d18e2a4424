package grafana

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Auth is how the client proves who it is: by Token, the token of a service
// account, if set, else by User and Password. The zero value is anonymous.
type Auth struct {
	User, Password string
	Token          string
}

// String keeps the secrets out of logs.
func (a Auth) String() string {
	switch {
	case a.Token != "":
		return "a service account token"
	case a.User != "":
		return fmt.Sprintf("user %q", a.User)
	}
	return "no credentials"
}

// GoString keeps the secrets out of %#v.
func (a Auth) GoString() string { return a.String() }

// Client talks to one Grafana. It is safe for concurrent use. Every call is
// bounded by its context; errors are *AuthError, *StatusError or
// *UnreachableError where these fit, and never hold a password or a token.
type Client struct {
	base *url.URL
	auth Auth
	http *http.Client
}

// New returns a client of the Grafana at address, a URL that may have a path
// prefix. Credentials in the address are used if auth has none. A nil rt is
// the default transport.
func New(address string, rt http.RoundTripper, auth Auth) (*Client, error) {
	base, err := url.Parse(address)
	if err != nil {
		// url.Parse quotes the address, which may hold a password.
		return nil, errors.New("the address of Grafana is not a URL: give one such as http://grafana.monitoring")
	}
	if base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("%q is not the address of a Grafana: give a URL such as http://grafana.monitoring", base.Redacted())
	}
	if base.User != nil && auth == (Auth{}) {
		auth.User = base.User.Username()
		auth.Password, _ = base.User.Password()
	}
	base.User, base.RawQuery, base.Fragment = nil, "", ""
	return &Client{base: base, auth: auth, http: &http.Client{
		Transport: rt,
		// Only a proxy's login page redirects an API call.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Health is what Grafana says about itself.
type Health struct {
	Version  string `json:"version"`
	Database string `json:"database"`
}

// Health asks Grafana how it is. It needs no credentials. A Grafana without
// its database is an error.
func (c *Client) Health(ctx context.Context) (Health, error) {
	const doing = "ask Grafana for its health"
	var h Health
	if err := c.call(ctx, doing, http.MethodGet, "/api/health", nil, nil, &h); err != nil {
		return Health{}, err
	}
	if h.Database == "" {
		return h, &StatusError{doing: doing, Address: c.base.String(), Status: http.StatusOK, Message: "this is not Grafana's answer"}
	}
	if h.Database != "ok" {
		return h, &StatusError{doing: doing, Address: c.base.String(), Status: http.StatusServiceUnavailable, Message: "its database is " + h.Database}
	}
	return h, nil
}

// maxAnswerBytes bounds an answer; the largest dashboards have a few MiB.
const maxAnswerBytes = 16 << 20

// call sends one request with a JSON body and reads a JSON answer into into.
func (c *Client) call(ctx context.Context, doing, method, path string, query url.Values, body, into any) error {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s: encode the request: %w", doing, err)
		}
		payload = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), payload)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case c.auth.Token != "":
		req.Header.Set("Authorization", "Bearer "+c.auth.Token)
	case c.auth.User != "":
		req.SetBasicAuth(c.auth.User, c.auth.Password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, doing, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return c.unreachable(ctx, doing, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refused(doing, resp, answer)
	}
	if len(answer) > maxAnswerBytes {
		return &StatusError{doing: doing, Address: c.base.String(), Status: resp.StatusCode, Message: "its answer is larger than 16 MiB"}
	}
	if into == nil {
		into = new(json.RawMessage) // any JSON is Grafana's; a login page is not
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return &StatusError{doing: doing, Address: c.base.String(), Status: resp.StatusCode, Message: "its answer is not JSON"}
	}
	return nil
}

func (c *Client) unreachable(ctx context.Context, doing string, err error) error {
	// The URL is in the sentence already, and a query says little to a person.
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &UnreachableError{doing: doing, Address: c.base.String(), Err: err}
}

// refused makes the error of an answer that is not a success.
func (c *Client) refused(doing string, resp *http.Response, answer []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(answer, &said) // a proxy's answer is no JSON, and says nothing then
	message := c.withoutSecrets(said.Message)
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return &AuthError{doing: doing, Address: c.base.String(), Status: resp.StatusCode, As: c.auth.String(), Message: message}
	}
	return &StatusError{doing: doing, Address: c.base.String(), Status: resp.StatusCode, Message: message}
}

// withoutSecrets guards against a server or proxy that echoes credentials.
func (c *Client) withoutSecrets(s string) string {
	for _, secret := range []string{c.auth.Password, c.auth.Token} {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "…")
		}
	}
	return s
}
