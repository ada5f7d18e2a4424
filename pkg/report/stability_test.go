package report

import (
	"strings"
	"testing"

	"github.com/muesli/termenv"
)

// TestStabilityIsSaid: steady or not, in which figure, and from when on.
func TestStabilityIsSaid(t *testing.T) {
	windows := []Window{{0, 1, 80, 15000}, {1, 1, 100, 10000}, {2, 1, 101, 10100}, {3, 1, 70, 19900}}
	for _, c := range []struct {
		name      string
		stability Stability
		want      []string
		not       string
	}{
		{"steady", Stability{Steady: true, RateLimitRatio: 0.1, ResponseLimitRatio: 0.1, ComparedWindows: 3, RateSpreadRatio: 0.02, ResponseSpreadRatio: 0.05, Windows: windows},
			[]string{"steady: last 3 of 4 windows of 1.00 s within 2.00 % in throughput, 5.00 % in", "mean response"}, "warm-up;"},
		{"steady later", Stability{Steady: true, RateLimitRatio: 0.1, ResponseLimitRatio: 0.1, ComparedWindows: 3, SteadyFromSeconds: 1, Windows: windows}, []string{"only from 1.00 s on", "lengthen the warm-up"}, "not steady"},
		{"throughput", Stability{RateLimitRatio: 0.1, ResponseLimitRatio: 0.1, ComparedWindows: 3, RateSpreadRatio: 0.3, ResponseSpreadRatio: 0.05, Windows: windows},
			[]string{"not steady: throughput 100 req/s, 101 req/s, 70.0 req/s"}, "mean response 1"},
		{"both", Stability{RateLimitRatio: 0.1, ResponseLimitRatio: 0.1, ComparedWindows: 3, RateSpreadRatio: 0.3, ResponseSpreadRatio: 0.4, Windows: windows},
			[]string{"not steady: throughput 100 req/s", "mean response 10.0 ms,", "19.9 ms", "over 10.0 % off"}, "within"},
	} {
		b := sample()
		b.Client.Stability = &c.stability
		got := strings.Join(strings.Fields(text(t, b, termenv.Ascii)), " ")
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q is not in %s", c.name, w, got)
			}
		}
		if strings.Contains(got, c.not) {
			t.Errorf("%s: %q is in %s", c.name, c.not, got)
		}
	}
}
