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
The server stops for `+stallFor.String()+` every `+stallEvery.String()+`, then answers what has come in the order in which
it came. A request that is due in a stall waits for the rest of it and for the backlog before
it, so the truth that users meet is known: with L the stall, P its period and s the server's
own time for a request, a share L/(1-rate·s)/P of all requests waits, from L evenly down to 0,
and the slowest 1-q of them at least L-(1-q)·P·(1-rate·s), added to the time of a server that
never stalls (the median of this engine at the same rate). s is the server's processor time
per request in a closed loop of `+strconv.Itoa(stallInFlight)+`, from the operating system's accounting. In brackets,
what a client reports too much or too little. p90 is where the waiting begins, and too steep
to compare. Each client has `+strconv.Itoa(stallInFlight)+` connections, so at 5,000/s most of a stall's 1,000 requests
start late: who counts from the send calls them fast.

`+stallTable(t, steady, stalling, client)+`
### Keeping the schedule
The same rates against the server without stalls, for `+paced.String()+`, by --pacing. Start error is
the time from when a request was due to its send.

`+pacingTable(t, steady, client))
}

// truth is what is known of a server that stalls.
type truth struct {
	unstalled time.Duration // response time without stalls
	work      time.Duration // the server's own time for a request
	rate      float64       // requests per second
}

// at is the response time that a share q of all requests does not exceed: of
// requests that come evenly to a server that stops and then catches up, first
// come, first served.
func (t truth) at(q float64) time.Duration {
	spare := 1 - t.rate*t.work.Seconds() // of the server's time
	return t.unstalled + max(0, stallFor-time.Duration((1-q)*spare*float64(stallEvery)))
}

func quantilesShown() []float64 { return []float64{0.5, 0.9, 0.99, 0.999, 1} }

func stallTable(t *testing.T, steady, stalling target, core int) string {
	rounds, stalled, paced := accuracyRounds()
	rows := []string{"| offered/s | | p50 ms | p90 ms | p99 ms | p99.9 ms | max ms | within 2 % or 0.2 ms | CPU µs/request |", "|---|---|---|---|---|---|---|---|---|"}
	p := writePayload(t, stalling.http)
	for _, protocol := range []struct {
		name       string
		generators []generator
	}{{"HTTP", httpGenerators(p)}, {"gRPC", grpcGenerators(p)}} {
		generators := slices.DeleteFunc(protocol.generators, func(g generator) bool {
			offersNone := strings.HasPrefix(g.name, "h2load") || g.name == "wrk"
			return offersNone || !installed(g.args(attack{target: stalling, inFlight: 1})[0])
		})
		own := generators[slices.IndexFunc(generators, func(g generator) bool { return g.name == "this engine" })]
		work := serverTime(t, own, attack{target: steady, inFlight: stallInFlight, duration: paced, core: core})
		for _, rate := range []int{500, 5000} {
			a := attack{target: steady, inFlight: stallInFlight, rate: rate, duration: paced, core: core}
			known := truth{unstalled: reported(interleaved(t, []generator{own}, a, rounds)[0])[0], work: work, rate: float64(rate)}
			row := fmt.Sprintf("| %d | **%s: the truth**, s = %.1f µs |", rate, protocol.name, float64(work)/float64(time.Microsecond))
			for _, q := range quantilesShown() {
				row += fmt.Sprintf(" %.2f |", milli(known.at(q)))
			}
			rows = append(rows, row+" | |")
			a.target, a.duration = stalling, stalled
			results := interleaved(t, generators, a, rounds)
			for i, g := range generators {
				rows = append(rows, stallRow(g.name, known, reported(results[i]))+fmt.Sprintf(" %.1f |", medianOf(results[i], func(o outcome) float64 { return o.cpuUS })))
				if g.name == "this engine" {
					rows = append(rows, stallRow("its service time alone, from the send", known, reportedService(results[i]))+" |")
				}
			}
		}
	}
	return strings.Join(rows, "\n") + "\n"
}

// serverTime is the processor time that the server takes for a request.
func serverTime(t *testing.T, g generator, a attack) time.Duration {
	t.Helper()
	before := processorTime(t, a.target.pid)
	answered := g.run(t, a).requests
	return (processorTime(t, a.target.pid) - before) / time.Duration(answered)
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
func stallRow(name string, known truth, got []time.Duration) string {
	row := fmt.Sprintf("| %.0f | %s |", known.rate, name)
	within := "yes"
	for i, q := range quantilesShown() {
		if got[i] == 0 {
			row += " – |"
			continue
		}
		want := known.at(q)
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
