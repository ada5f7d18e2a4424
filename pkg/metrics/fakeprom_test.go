package metrics

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeProm answers the few kinds of query that this package asks, from samples
// given to it. That the queries are right PromQL is tested against the real
// Prometheus, end to end; here its answers and failures are in hand.
type fakeProm struct {
	t        *testing.T
	leftOpen bool          // whether ranges exclude their left edge, as Prometheus 3 does
	ahead    time.Duration // of the local clock

	mu      sync.Mutex
	series  []fakeSeries
	targets []target
	fail    map[string]func(http.ResponseWriter) // by path
	asked   []string
	warns   []string // with every answer of a query
	onQuery func(query string)
}

type fakeSeries struct {
	labels  map[string]string
	samples []fakeSample
}

type fakeSample struct {
	at time.Time
	v  float64
}

func (p *fakeProm) now() time.Time { return time.Now().Add(p.ahead) }

func (p *fakeProm) add(labels string, samples ...fakeSample) {
	p.series = append(p.series, fakeSeries{parseLabels(labels), samples})
}

// parseLabels reads name{a="b",c="d"}.
func parseLabels(text string) map[string]string {
	name, rest, _ := strings.Cut(text, "{")
	labels := map[string]string{"__name__": name}
	for _, m := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(rest, -1) {
		labels[m[1]] = m[2]
	}
	return labels
}

// every gives one sample per value, step apart.
func every(step time.Duration, from time.Time, values ...float64) []fakeSample {
	samples := make([]fakeSample, len(values))
	for i, v := range values {
		samples[i] = fakeSample{from.Add(time.Duration(i) * step), v}
	}
	return samples
}

func (p *fakeProm) serve() *Prometheus {
	server := httptest.NewServer(p)
	p.t.Cleanup(server.Close)
	transport := &http.Transport{}
	p.t.Cleanup(transport.CloseIdleConnections)
	client, err := NewPrometheus(server.URL, transport)
	if err != nil {
		p.t.Fatal(err)
	}
	return client
}

// direct answers without a network.
func (p *fakeProm) direct() *Prometheus {
	client, err := NewPrometheus("http://prometheus", roundTripper(func(req *http.Request) (*http.Response, error) {
		if err := req.Context().Err(); err != nil {
			return nil, err
		}
		recorder := httptest.NewRecorder()
		p.ServeHTTP(recorder, req)
		return recorder.Result(), nil
	}))
	if err != nil {
		p.t.Fatal(err)
	}
	return client
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func (p *fakeProm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fail := p.fail[r.URL.Path]; fail != nil {
		fail(w)
		return
	}
	var data any
	switch r.URL.Path {
	case "/-/ready":
		return
	case "/api/v1/targets":
		data = map[string]any{"activeTargets": p.targets}
	case "/api/v1/query":
		query, at := r.PostFormValue("query"), p.now()
		if text := r.PostFormValue("time"); text != "" {
			seconds, err := strconv.ParseFloat(text, 64)
			if err != nil {
				p.t.Errorf("time %q: %v", text, err)
			}
			at = time.UnixMilli(int64(seconds*1000 + 0.5))
		}
		p.asked = append(p.asked, query)
		if p.onQuery != nil {
			p.onQuery(query)
		}
		kind, result := p.evaluate(query, at)
		data = map[string]any{"resultType": kind, "result": result}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data, "warnings": p.warns}); err != nil {
		p.t.Error(err)
	}
}

func pair(at time.Time, v float64) []any {
	return []any{float64(at.UnixMilli()) / 1000, strconv.FormatFloat(v, 'g', -1, 64)}
}

func (p *fakeProm) evaluate(query string, at time.Time) (kind string, result any) {
	matched := p.match(query, at)
	vector := []any{}
	switch {
	case query == "time()":
		return "scalar", pair(at, float64(at.UnixMilli())/1000)
	case query == "vector(1)":
		return "vector", append(vector, map[string]any{"metric": map[string]string{}, "value": pair(at, 1)})
	case strings.HasPrefix(query, "timestamp(up{"):
		for _, s := range matched {
			last := s.samples[len(s.samples)-1].at
			vector = append(vector, map[string]any{"metric": s.labels, "value": pair(at, float64(last.UnixMilli())/1000)})
		}
		return "vector", vector
	case strings.HasPrefix(query, "group by (") || strings.HasPrefix(query, "count by ("):
		by := strings.Split(query[strings.Index(query, "(")+1:strings.Index(query, ")")], ", ")
		groups := map[string]int{}
		metrics := map[string]map[string]string{}
		for _, s := range matched {
			metric := map[string]string{}
			for _, name := range by {
				if v := s.labels[name]; v != "" {
					metric[name] = v
				}
			}
			key := fmt.Sprint(metric)
			groups[key]++
			metrics[key] = metric
		}
		for key, n := range groups {
			if query[0] == 'g' {
				n = 1
			}
			vector = append(vector, map[string]any{"metric": metrics[key], "value": pair(at, float64(n))})
		}
		return "vector", vector
	case strings.HasPrefix(query, "{__name__=~"):
		matrix := []any{}
		for _, s := range matched {
			var values []any
			for _, sample := range s.samples {
				values = append(values, pair(sample.at, sample.v))
			}
			matrix = append(matrix, map[string]any{"metric": s.labels, "values": values})
		}
		return "matrix", matrix
	}
	p.t.Errorf("a query that the stand-in does not know: %s", query)
	return "vector", vector
}

// match finds the series and samples of the query's one selector.
func (p *fakeProm) match(query string, at time.Time) []fakeSeries {
	open, shut := strings.Index(query, "{"), strings.LastIndex(query, "}")
	if open < 0 {
		return nil
	}
	name := query[strings.LastIndexAny(query[:open], "( ")+1 : open]
	span := 5 * time.Minute
	if m := regexp.MustCompile(`\[(\d+)ms\]`).FindStringSubmatch(query[shut:]); m != nil {
		ms, _ := strconv.Atoi(m[1])
		span = time.Duration(ms) * time.Millisecond
	}
	var found []fakeSeries
series:
	for _, s := range p.series {
		if name != "" && s.labels["__name__"] != name {
			continue
		}
		for _, m := range regexp.MustCompile(`(\w+)=~("(?:\\.|[^"\\])*")`).FindAllStringSubmatch(query[open:shut], -1) {
			pattern, err := strconv.Unquote(m[2])
			if err != nil {
				p.t.Errorf("%s: %v", query, err)
			}
			if !regexp.MustCompile("^(?:" + pattern + ")$").MatchString(s.labels[m[1]]) {
				continue series
			}
		}
		inside := fakeSeries{labels: s.labels}
		for _, sample := range s.samples {
			from := at.Add(-span)
			if !sample.at.After(at) && (sample.at.After(from) || !p.leftOpen && sample.at.Equal(from)) {
				inside.samples = append(inside.samples, sample)
			}
		}
		if len(inside.samples) > 0 {
			found = append(found, inside)
		}
	}
	return found
}
