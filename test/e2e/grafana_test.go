//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestGrafanaTrouble: a Grafana that is slow, broken or refuses stops nothing;
// the report says what is missing, why, and what mends it.
func TestGrafanaTrouble(t *testing.T) {
	pod := readyPod(t, "monitoring", "app.kubernetes.io/name=grafana")
	hc := dialPod(t, "monitoring", pod.Name, "3001")
	t.Cleanup(func() {
		req, err := http.NewRequest(http.MethodDelete, "http://sim/sim/behaviour", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	})
	for _, c := range []struct{ name, behaviour, why string }{
		{"slow", `[{"path_prefix":"/api/annotations","delay_ms":30000}]`, "time"},
		{"broken", `[{"path_prefix":"/api/annotations","status":500}]`, "500"},
		{"unauthorised", `[{"path_prefix":"/api/annotations","status":401}]`, "401"},
		{"forbidden", `[{"path_prefix":"/api/annotations","status":403}]`, "403"},
		{"cut off", `[{"path_prefix":"/api/annotations","drop":true}]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			fetch(t, hc, http.MethodPut, "http://sim/sim/behaviour", c.behaviour)
			begin := time.Now()
			r := benchJSON(t, 0, "queueing", "--requests", "20", "--warmup", "0")
			if took := time.Since(begin); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
			if r.Client.Succeeded != 20 || r.Grafana != nil {
				t.Errorf("%d of 20 succeeded; Grafana: %+v", r.Client.Succeeded, r.Grafana)
			}
			for _, m := range r.Missing {
				if strings.HasPrefix(m.Part, "Grafana") {
					t.Logf("%s; mend it by: %s", m.Why, m.Fix)
					if !strings.Contains(m.Why, c.why) || m.Fix == "" {
						t.Errorf("the reason is %q, the fix %q; want %q", m.Why, m.Fix, c.why)
					}
					return
				}
			}
			t.Errorf("nothing is said of Grafana: %+v", r.Missing)
		})
	}
}
