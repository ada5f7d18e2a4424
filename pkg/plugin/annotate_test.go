package plugin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
)

// TestMarkerEndsItsOwnRegion: the start is given its end where Grafana still has
// it. Where it has forgotten it, even if another's annotation has the id now,
// the whole region is posted anew and nothing else is touched.
func TestMarkerEndsItsOwnRegion(t *testing.T) {
	begin := time.UnixMilli(1_800_000_000_000)
	end := begin.Add(10 * time.Second)
	for _, c := range []struct {
		name  string
		holds string // what Grafana answers to a search
		code  int
		want  string // the request that ends the region
		lost  bool
	}{
		{"kept", `[{"id":7,"time":1800000000000,"timeEnd":1800000000000}]`, 200, "PATCH /api/annotations/7", false},
		{"forgotten", `[]`, 200, "POST /api/annotations", true},
		{"another has the id", `[{"id":7,"time":1700000000000}]`, 200, "POST /api/annotations", true},
		{"no permission to search", `{"message":"no"}`, 403, "PATCH /api/annotations/7", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var calls []string
			var last map[string]any
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					w.WriteHeader(c.code)
					fmt.Fprint(w, c.holds)
					return
				}
				calls = append(calls, r.Method+" "+r.URL.Path)
				last = map[string]any{}
				if err := json.NewDecoder(r.Body).Decode(&last); err != nil {
					t.Error(err)
				}
				fmt.Fprint(w, `{"id":7}`)
			}))
			defer server.Close()
			client, err := grafana.New(server.URL, nil, grafana.Auth{Token: "t"})
			if err != nil {
				t.Fatal(err)
			}
			m := &marker{client: client}
			m.start(t.Context(), begin, "model m", []string{"a"})
			if err := m.stop(t.Context(), begin, end, "all well"); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(calls, ", "); got != "POST /api/annotations, "+c.want || m.lost != c.lost {
				t.Errorf("it sent %s, lost %v; want %s, %v", got, m.lost, c.want, c.lost)
			}
			if last["timeEnd"] != float64(end.UnixMilli()) || !strings.Contains(fmt.Sprint(last["text"]), "Load Test Stop: all well") {
				t.Errorf("the region ends as %v", last)
			}
			if c.lost && (last["time"] != float64(begin.UnixMilli()) || fmt.Sprint(last["tags"]) != "[a]") {
				t.Errorf("the region was posted as %v", last)
			}
		})
	}
}

// TestExploreURLHasNoLogin: it is printed, and kept in reports.
func TestExploreURLHasNoLogin(t *testing.T) {
	got := exploreURL("https://me:secret@grafana.example/sub/", time.UnixMilli(1), time.UnixMilli(2))
	if !strings.HasPrefix(got, "https://grafana.example/sub/explore?schemaVersion=1&panes=%7B") {
		t.Error(got)
	}
}
