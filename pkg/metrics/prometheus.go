package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Prometheus reads windows from a Prometheus server, or from another server
// with its HTTP API. It is safe for concurrent use. Every call is bounded by
// its context, and errors are *UnreachableError, *StatusError or *APIError
// where these fit.
type Prometheus struct {
	address string
	client  api.Client
	api     v1.API
	warned  func(warning string) // hears what comes with answers; may be nil
}

// NewPrometheus returns a reader of the server at address, a URL that may have
// a path prefix. A nil rt is the default transport.
func NewPrometheus(address string, rt http.RoundTripper) (*Prometheus, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is not the address of a Prometheus: give a URL such as http://prometheus.monitoring:9090", redacted(address, u))
	}
	if rt == nil {
		rt = http.DefaultTransport
	}
	client, err := api.NewClient(api.Config{Address: address, Client: &http.Client{Transport: limitedTransport{rt}}})
	if err != nil {
		return nil, fmt.Errorf("%q is not the address of a Prometheus: %w", u.Redacted(), err)
	}
	return &Prometheus{address: u.Redacted(), client: client, api: v1.NewAPI(client)}, nil
}

func redacted(address string, u *url.URL) string {
	if u != nil {
		return u.Redacted()
	}
	if _, after, found := strings.Cut(address, "@"); found {
		return "…@" + after
	}
	return address
}

// Ready asks whether the server answers queries. Servers that only share
// Prometheus' API have no readiness endpoint and are asked a query instead.
func (p *Prometheus) Ready(ctx context.Context) error {
	req, err := http.NewRequest(http.MethodGet, p.client.URL("/-/ready", nil).String(), nil)
	if err != nil {
		return fmt.Errorf("ask Prometheus at %s whether it is ready: %w", p.address, err)
	}
	resp, body, err := p.client.Do(ctx, req) //nolint:bodyclose // the API client has read and closed it
	switch {
	case err != nil:
		return p.explain(ctx, "its readiness", err)
	case resp.StatusCode == http.StatusOK:
		return nil
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed:
		_, err := p.query(ctx, "its readiness", "vector(1)", time.Time{})
		return err
	}
	return &StatusError{Address: p.address, Status: resp.StatusCode, Detail: firstLine(string(body))}
}

// ServerTime is the server's clock, to the millisecond.
func (p *Prometheus) ServerTime(ctx context.Context) (time.Time, error) {
	value, err := p.query(ctx, "its time", "time()", time.Time{})
	if err != nil {
		return time.Time{}, err
	}
	scalar, ok := value.(*model.Scalar)
	if !ok || !known(float64(scalar.Value)) {
		return time.Time{}, &badAnswerError{address: p.address, what: "time()", err: fmt.Errorf("got %v", value)}
	}
	return time.UnixMilli(int64(float64(scalar.Value) * 1000)), nil
}

// clock is how far the server's clock is ahead of the local one.
type clock struct{ skew, uncertainty time.Duration }

// differs tells whether the clocks are surely apart.
func (c clock) differs() bool { return c.skew.Abs() > c.uncertainty }

// clockOf compares the clocks: the server read its own at some time between
// question and answer, so the quickest of a few answers bounds it best.
func (p *Prometheus) clockOf(ctx context.Context) (clock, error) {
	const tries = 3
	var best clock
	for i := range tries {
		asked := time.Now()
		server, err := p.ServerTime(ctx)
		if err != nil {
			return clock{}, err
		}
		trip := time.Since(asked)
		c := clock{skew: server.Sub(asked.Add(trip / 2)), uncertainty: trip/2 + time.Millisecond}
		if i == 0 || c.uncertainty < best.uncertainty {
			best = c
		}
	}
	return best, nil
}

// query evaluates an instant query; a zero time means the server's now.
func (p *Prometheus) query(ctx context.Context, doing, promql string, at time.Time) (model.Value, error) {
	value, warnings, _, err := p.api.Query(ctx, promql, at)
	if err != nil {
		return nil, p.explain(ctx, doing, err)
	}
	for _, warning := range warnings {
		if p.warned != nil {
			p.warned(warning)
		}
	}
	if value == nil {
		// JSON that is no answer, as a proxy's.
		return nil, &badAnswerError{address: p.address, what: doing, err: errors.New("it has no result")}
	}
	return value, nil
}

func (p *Prometheus) vector(ctx context.Context, doing, promql string, at time.Time) (model.Vector, error) {
	value, err := p.query(ctx, doing, promql, at)
	if err != nil {
		return nil, err
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, &badAnswerError{address: p.address, what: doing, err: fmt.Errorf("expected a vector, got a %s", value.Type())}
	}
	return vector, nil
}

// target is what the server knows about one of its scrape targets.
type target struct {
	ScrapePool     string            `json:"scrapePool"`
	ScrapeURL      string            `json:"scrapeUrl"`
	Labels         map[string]string `json:"labels"`
	LastError      string            `json:"lastError"`
	Health         string            `json:"health"`
	ScrapeInterval string            `json:"scrapeInterval"`
	ScrapeTimeout  string            `json:"scrapeTimeout"`
}

// endpoint is what ties a series to the target that it was scraped from.
type endpoint struct{ job, instance string }

func (t target) endpoint() endpoint { return endpoint{t.Labels["job"], t.Labels["instance"]} }

// ofDCGM tells whether the target looks like dcgm-exporter by its name.
func (t target) ofDCGM() bool { return strings.Contains(t.Labels["job"]+t.ScrapePool, "dcgm") }

func (t target) interval() time.Duration {
	d, err := model.ParseDuration(t.ScrapeInterval)
	if err != nil {
		return 0
	}
	return time.Duration(d)
}

// activeTargets lists the active targets. The typed client leaves out the
// intervals.
func (p *Prometheus) activeTargets(ctx context.Context) ([]target, error) {
	var answer struct {
		ActiveTargets []target `json:"activeTargets"`
	}
	err := p.get(ctx, "its scrape targets", "/api/v1/targets", url.Values{"state": {"active"}}, &answer)
	return answer.ActiveTargets, err
}

func (p *Prometheus) targets(ctx context.Context) (map[endpoint]target, error) {
	active, err := p.activeTargets(ctx)
	if err != nil {
		return nil, err
	}
	targets := make(map[endpoint]target, len(active))
	for _, t := range active {
		targets[t.endpoint()] = t
	}
	return targets, nil
}

// rangeSelector is the PromQL range that, evaluated at end, holds all samples
// from start to end. Prometheus 3 excludes the range's left edge and 2 doesn't,
// so it begins a millisecond early: callers drop what lies before start.
func rangeSelector(start, end time.Time) string {
	return "[" + strconv.FormatInt(end.UnixMilli()-start.UnixMilli()+1, 10) + "ms]"
}

// maxAnswerBytes bounds one answer of the server.
const maxAnswerBytes = 256 << 20

// limitedTransport fails answers that are too large to hold.
type limitedTransport struct{ base http.RoundTripper }

func (t limitedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err == nil {
		resp.Body = &limitedBody{ReadCloser: resp.Body, left: maxAnswerBytes}
	}
	return resp, err
}

var errAnswerTooLarge = errors.New("the answer is larger than 256 MiB")

type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errAnswerTooLarge
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
