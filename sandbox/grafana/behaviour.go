package grafana

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Rule makes requests slow or fail.
type Rule struct {
	// Method and PathPrefix select requests; empty selects all.
	Method     string `json:"method,omitempty"`
	PathPrefix string `json:"path_prefix,omitempty"`
	// DelayMS is how long a request waits first, in milliseconds.
	DelayMS int64 `json:"delay_ms,omitempty"`
	// Status, if not 0, is answered instead of serving the request.
	Status int `json:"status,omitempty"`
	// Drop closes the connection without an answer.
	Drop bool `json:"drop,omitempty"`
	// Count limits the rule to its first so many requests; 0 means all.
	Count int64 `json:"count,omitempty"`
}

func (r Rule) validate() error {
	switch {
	case r.DelayMS < 0:
		return fmt.Errorf("delay_ms is %d; it takes 0 or more milliseconds", r.DelayMS)
	case r.Count < 0:
		return fmt.Errorf("count is %d; it takes 0 (all) or more requests", r.Count)
	case r.Status != 0 && (r.Status < 200 || r.Status > 599):
		return fmt.Errorf("status is %d; it takes an HTTP status from 200 to 599", r.Status)
	case r.PathPrefix != "" && !strings.HasPrefix(r.PathPrefix, "/"):
		return fmt.Errorf("path_prefix is %q; it begins with /", r.PathPrefix)
	}
	return nil
}

// behaviour holds the rules; the first that matches a request applies.
type behaviour struct {
	mu    sync.Mutex
	rules []Rule
	used  []int64
}

func (b *behaviour) set(rules []Rule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules, b.used = rules, make([]int64, len(rules))
}

func (b *behaviour) ruleFor(r *http.Request) Rule {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, rule := range b.rules {
		if rule.Count > 0 && b.used[i] >= rule.Count {
			continue
		}
		if (rule.Method == "" || strings.EqualFold(rule.Method, r.Method)) && strings.HasPrefix(r.URL.Path, rule.PathPrefix) {
			b.used[i]++
			return rule
		}
	}
	return Rule{}
}

func (b *behaviour) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rule := b.ruleFor(r)
		if rule.DelayMS > 0 {
			wait := time.NewTimer(time.Duration(rule.DelayMS) * time.Millisecond)
			defer wait.Stop()
			select {
			case <-wait.C:
			case <-r.Context().Done():
				return
			}
		}
		switch {
		case rule.Drop:
			panic(http.ErrAbortHandler)
		case rule.Status != 0:
			respond(w, rule.Status, map[string]any{"message": http.StatusText(rule.Status)})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// control serves /sim/behaviour: GET shows the rules, PUT replaces them by one
// rule or a list of rules, DELETE removes them.
func (b *behaviour) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sim/behaviour", func(w http.ResponseWriter, _ *http.Request) {
		b.mu.Lock()
		rules := append([]Rule{}, b.rules...)
		b.mu.Unlock()
		respond(w, http.StatusOK, rules)
	})
	mux.HandleFunc("PUT /sim/behaviour", func(w http.ResponseWriter, r *http.Request) {
		rules, err := readRules(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		if err != nil {
			respond(w, http.StatusBadRequest, map[string]any{"message": err.Error()})
			return
		}
		b.set(rules)
		respond(w, http.StatusOK, rules)
	})
	mux.HandleFunc("DELETE /sim/behaviour", func(w http.ResponseWriter, _ *http.Request) {
		b.set(nil)
		respond(w, http.StatusOK, []Rule{})
	})
	return mux
}

func readRules(body io.Reader) ([]Rule, error) {
	var raw json.RawMessage
	if err := json.NewDecoder(body).Decode(&raw); err != nil {
		return nil, fmt.Errorf("the behaviour is not JSON: %w", err)
	}
	var rules []Rule
	list := strings.HasPrefix(strings.TrimSpace(string(raw)), "[")
	if !list {
		raw = json.RawMessage("[" + string(raw) + "]")
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&rules); err != nil {
		return nil, fmt.Errorf("the behaviour is not a rule or a list of rules: %w", err)
	}
	for _, rule := range rules {
		if err := rule.validate(); err != nil {
			return nil, err
		}
	}
	return rules, nil
}
