//go:build benchmark

package benchmark

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	engineRounds = 3
	engineRound  = 2 * time.Second
)

// TestEngine compares the load engine with the field's on a bare server, in
// interleaved rounds: what a request costs the client.
func TestEngine(t *testing.T) {
	steady := startTarget(t)
	p := writePayload(t, steady.http)
	writeSection(t, "The load engine", `The engine (pkg/bench and pkg/triton alone) beside other load generators, against a
server on one core that computes nothing: model simple, INT32[1,16] twice, plain TCP
on one machine, medians of `+strconv.Itoa(engineRounds)+` interleaved rounds of `+engineRound.String()+`. CPU is user and system time
of the client's process per request, its start included. This engine makes fresh random
data for each request and checks each answer; the others repeat one request and look at
the status at most.

### HTTP, closed loop
`+closedLoop(t, steady, httpGenerators(p), "wrk", "vegeta")+`
### gRPC, closed loop, `+strconv.Itoa(perConnection)+` requests in flight per connection
`+closedLoop(t, steady, grpcGenerators(p), "h2load, HTTP/2", "ghz")+`
### Memory of a long run
`+memoryTable(t, steady))
}

// closedLoop is a table with the ratio of CPU to that of two of the generators.
func closedLoop(t *testing.T, at target, generators []generator, ceiling, peer string) string {
	generators = slices.DeleteFunc(generators, func(g generator) bool {
		return !installed(g.args(attack{target: at, inFlight: 1})[0])
	})
	rows := []string{
		fmt.Sprintf("| in flight | client | CPU µs/request | of %s | of %s | requests/s | p50 ms | p99 ms | memory MiB |", ceiling, peer),
		"|---|---|---|---|---|---|---|---|---|",
	}
	for _, inFlight := range []int{1, 16, 64} {
		a := attack{target: at, inFlight: inFlight, duration: engineRound, core: -1}
		results := interleaved(t, generators, a, engineRounds)
		cpu := func(o outcome) float64 { return o.cpuUS }
		than := func(m []outcome, name string) string {
			i := slices.IndexFunc(generators, func(g generator) bool { return g.name == name })
			if i < 0 {
				return "–" // it is not installed
			}
			return fmt.Sprintf("%.2f", ratio(m, results[i], cpu))
		}
		for i, g := range generators {
			m := results[i]
			rows = append(rows, fmt.Sprintf("| %d | %s | %.1f | %s | %s | %.0f | %s | %s | %.0f |", inFlight, g.name, medianOf(m, cpu),
				than(m, ceiling), than(m, peer),
				medianOf(m, func(o outcome) float64 { return o.perSecond(a) }), milliseconds(m, p50), milliseconds(m, p99),
				medianOf(m, func(o outcome) float64 { return o.memoryMiB })))
		}
	}
	return strings.Join(rows, "\n") + "\n"
}

// memoryTable is the peak of this engine at a short, a long and a very long run.
func memoryTable(t *testing.T, at target) string {
	rows := []string{"| requests | memory MiB at most |", "|---|---|"}
	counts := []string{"100000", "1000000", "10000000"}
	if testing.Short() {
		counts = counts[:2] // the last takes two minutes
	}
	for _, requests := range counts {
		g := generator{"this engine", func(attack) []string {
			return []string{"engine", "-address", at.http, "-concurrency", "16", "-requests", requests}
		}, readEngine}
		rows = append(rows, fmt.Sprintf("| %s | %.1f |", requests, g.run(t, attack{core: -1}).memoryMiB))
	}
	return strings.Join(rows, "\n") + "\n"
}

// interleaved lets the generators take turns, so that a disturbance hits all.
func interleaved(t *testing.T, generators []generator, a attack, rounds int) [][]outcome {
	results := make([][]outcome, len(generators))
	for range rounds {
		for i, g := range generators {
			results[i] = append(results[i], g.run(t, a))
		}
	}
	return results
}

func medianOf(all []outcome, f func(outcome) float64) float64 {
	values := make([]float64, len(all))
	for i, o := range all {
		values[i] = f(o)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// ratio is the median of the rounds' ratios.
func ratio(of, to []outcome, f func(outcome) float64) float64 {
	values := make([]float64, len(of))
	for i := range of {
		values[i] = f(of[i]) / f(to[i])
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func p50(o outcome) float64 { return o.p50.Seconds() * 1e3 }
func p99(o outcome) float64 { return o.p99.Seconds() * 1e3 }

func milliseconds(all []outcome, f func(outcome) float64) string {
	if m := medianOf(all, f); m > 0 {
		return fmt.Sprintf("%.2f", m)
	}
	return "–"
}
