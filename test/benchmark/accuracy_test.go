//go:build benchmark

package benchmark

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// The stall that users feel: a tenth of the time.
	stallEvery    = 2 * time.Second
	stallFor      = 200 * time.Millisecond
	stallInFlight = 64
)

// accuracyRounds, and how long each is: whole periods of the stall. -test.short
// gives a first look.
func accuracyRounds() (rounds int, stalled, paced time.Duration) {
	if testing.Short() {
		return 1, 2 * stallEvery, 2 * time.Second
	}
	return 3, 5 * stallEvery, 5 * time.Second
}

// TestAccuracy compares what open loops report of a server that stalls with what
// is known of it, and how well the engine keeps its schedule.
func TestAccuracy(t *testing.T) {
	server, client := cores()
	rounds, _, paced := accuracyRounds()
	steady := startTargetOn(t, server)
	stalling := startTargetOn(t, server, "-stall-every", stallEvery.String(), "-stall-for", stallFor.String())
	placed := "Server and client have a core each."
	if server < 0 {
		placed = "Server and client share all cores."
	}
	writeSection(t, "The truth of the open loop", `This engine and others offer a rate to the bare server of the section above.
`+placed+` Medians of `+strconv.Itoa(rounds)+` interleaved rounds.

### A server that stalls
The server stops for `+stallFor.String()+` every `+stallEvery.String()+`. A request that is due in a stall waits for the rest of
it, so the response times above p90 are spread evenly over 0 to `+stallFor.String()+`: that is the truth
that users meet, added to the time of a server that never stalls (the median of this
engine at the same rate). In brackets, what a client reports too much or too little.
p90 is where the stalls begin, and too steep to compare: after a stall the backlog
takes some milliseconds. Each client has `+strconv.Itoa(stallInFlight)+` connections, so at 5,000/s most of a stall's
1,000 requests start late: who counts from the send calls them fast.

`+stallTable(t, steady, stalling, client)+`
### Keeping the schedule
The same rates against the server without stalls, for `+paced.String()+`, by --pacing. Start error is
the time from when a request was due to its send.

`+pacingTable(t, steady, client))
}

// truth is the response time that a share q of all requests does not exceed.
func truth(q float64, unstalled time.Duration) time.Duration {
	stalled := float64(stallFor) / float64(stallEvery)
	return unstalled + max(0, time.Duration((q-(1-stalled))/stalled*float64(stallFor)))
}

func quantilesShown() []float64 { return []float64{0.5, 0.9, 0.99, 0.999, 1} }

func stallTable(t *testing.T, steady, stalling target, core int) string {
	rounds, stalled, paced := accuracyRounds()
	rows := []string{"| offered/s | | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms | within 2 % or 0.2 ms | CPU µs/request |", "|---|---|---|---|---|---|---|---|---|"}
	p := writePayload(t, stalling.http)
	generators := slices.Concat(httpGenerators(p), grpcGenerators(p)[1:])
	for i := len(generators) - 2; i < len(generators); i++ {
		generators[i].name += ", gRPC"
	}
	generators = slices.DeleteFunc(generators, func(g generator) bool {
		offersNone := strings.HasPrefix(g.name, "h2load") || g.name == "wrk"
		return offersNone || !installed(g.args(attack{target: stalling, inFlight: 1})[0])
	})
	for _, rate := range []int{500, 5000} {
		a := attack{target: steady, inFlight: stallInFlight, rate: rate, duration: paced, core: core}
		own := generators[slices.IndexFunc(generators, func(g generator) bool { return g.name == "this engine" })]
		unstalled := reported(interleaved(t, []generator{own}, a, rounds)[0])[0]
		row := fmt.Sprintf("| %d | the truth |", rate)
		for _, q := range quantilesShown() {
			row += fmt.Sprintf(" %.2f |", milli(truth(q, unstalled)))
		}
		rows = append(rows, row+" | |")
		a.target, a.duration = stalling, stalled
		results := interleaved(t, generators, a, rounds)
		for i, g := range generators {
			rows = append(rows, stallRow(rate, g.name, unstalled, reported(results[i]))+fmt.Sprintf(" %.1f |", medianOf(results[i], func(o outcome) float64 { return o.cpuUS })))
			if g.name == "this engine" {
				rows = append(rows, stallRow(rate, "its service time alone, from the send", unstalled, reportedService(results[i]))+" |")
			}
		}
	}
	return strings.Join(rows, "\n") + "\n"
}

// reported are the medians of what the rounds reported, by quantilesShown.
func reported(rounds []outcome) []time.Duration {
	var medians []time.Duration
	for _, f := range []func(outcome) time.Duration{
		func(o outcome) time.Duration { return o.p50 }, func(o outcome) time.Duration { return o.p90 },
		func(o outcome) time.Duration { return o.p99 }, func(o outcome) time.Duration { return o.p999 },
		func(o outcome) time.Duration { return o.max },
	} {
		medians = append(medians, time.Duration(medianOf(rounds, func(o outcome) float64 { return float64(f(o)) })))
	}
	return medians
}

func reportedService(rounds []outcome) []time.Duration {
	var services []outcome
	for _, o := range rounds {
		us := func(v float64) time.Duration { return time.Duration(v * float64(time.Microsecond)) }
		s := o.service
		services = append(services, outcome{p50: us(s.P50), p90: us(s.P90), p99: us(s.P99), p999: us(s.P999), max: us(s.Max)})
	}
	return reported(services)
}

// stallRow compares; a time of 0 is one that the client doesn't tell.
func stallRow(rate int, name string, unstalled time.Duration, got []time.Duration) string {
	row := fmt.Sprintf("| %d | %s |", rate, name)
	within := "yes"
	for i, q := range quantilesShown() {
		if got[i] == 0 {
			row += " – |"
			continue
		}
		want := truth(q, unstalled)
		off := got[i] - want
		shown := fmt.Sprintf("%+.2f ms", milli(off))
		if want >= 10*time.Millisecond {
			shown = fmt.Sprintf("%+.1f %%", 100*float64(off)/float64(want))
		}
		row += fmt.Sprintf(" %.2f (%s) |", milli(got[i]), shown)
		if q != 0.9 && math.Abs(float64(off)) > max(0.02*float64(want), float64(200*time.Microsecond)) {
			within = "no"
		}
	}
	return row + " " + within + " |"
}

func pacingTable(t *testing.T, at target, core int) string {
	rounds, _, paced := accuracyRounds()
	rows := []string{"| offered/s | pacing | answered/s | off | start error p50 ms | p99 ms | p99.9 ms | response p50 ms | CPU µs/request |", "|---|---|---|---|---|---|---|---|---|"}
	for _, rate := range []int{500, 5000} {
		var generators []generator
		for _, pacing := range []string{"precise", "coalesced", "spin"} {
			generators = append(generators, generator{pacing, func(a attack) []string {
				return engineArgs(a, "-address", a.target.http, "-pacing", pacing)
			}, readEngine})
		}
		results := interleaved(t, generators, attack{target: at, inFlight: stallInFlight, rate: rate, duration: paced, core: core}, rounds)
		for i, g := range generators {
			m := func(f func(outcome) float64) float64 { return medianOf(results[i], f) }
			answered := m(func(o outcome) float64 { return o.answeredPerSecond })
			rows = append(rows, fmt.Sprintf("| %d | %s | %.1f | %+.3f %% | %.3f | %.3f | %.3f | %.3f | %.1f |", rate, g.name,
				answered, 100*(answered/float64(rate)-1),
				m(func(o outcome) float64 { return o.lag.P50 / 1e3 }), m(func(o outcome) float64 { return o.lag.P99 / 1e3 }), m(func(o outcome) float64 { return o.lag.P999 / 1e3 }),
				m(p50), m(func(o outcome) float64 { return o.cpuUS })))
		}
	}
	return strings.Join(rows, "\n") + "\n"
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
