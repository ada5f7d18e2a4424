//go:build e2e

package e2e

import (
	"encoding/csv"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// prompts are of 10 and of 5 words, in turn.
const prompts = `{"data": [{"text_input": ["a b c d e f g h i j"]}, {"text_input": ["one two three four five"]}]}`

func dataFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStreamsMatchTheSimulator: responses, the time to the first and the gaps
// between them are what the simulator sent, over gRPC and as events.
func TestStreamsMatchTheSimulator(t *testing.T) {
	for _, args := range [][]string{
		{"--concurrency", "4"},
		{"--concurrency", "4", "--endpoint", "generate-stream"},
		{"--rate", "25", "--protocol", "grpc"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			hc := tritonControl(t)
			fetch(t, hc, http.MethodDelete, "http://sim/requests", "")
			r := benchJSON(t, 0, append(args, "words", "--input-data", dataFile(t, prompts), "--requests", "200", "--warmup", "0")...)
			done := simulatorLog(t, hc, r)
			st := r.Client.Stream
			if len(done) != 200 || r.Client.Succeeded != 200 || st == nil {
				t.Fatalf("the simulator answered %d; the client counts %+v", len(done), r.Client)
			}
			var responses uint64
			var first, total []float64
			var gaps float64
			for _, l := range done {
				responses += uint64(l.Responses)
				first = append(first, float64(l.FirstResponseNS)/1e3)
				total = append(total, float64(l.TotalNS)/1e3)
				gaps += float64(l.TotalNS-l.FirstResponseNS) / 1e3
			}
			gap := gaps / float64(responses-200)
			if st.Responses != responses || st.MinResponses != 5 || st.MaxResponses != 10 || st.Gap.Count != responses-200 || st.FirstResponse.Count != 200 {
				t.Errorf("the simulator sent %d responses; the client counts %+v", responses, st)
			}
			if generated := strings.Contains(strings.Join(args, " "), "generate"); (st.Tokens == responses) != generated {
				t.Errorf("%d tokens", st.Tokens)
			}
			// What lies between a due time and the request's arrival is the same for
			// the first response and for the last, and there is none between responses.
			before, whole := st.FirstResponse.MeanUS-mean(first), r.Client.Response.MeanUS-mean(total)
			t.Logf("first response: client %.2f ms, simulator %.2f ms; response: %.2f and %.2f; gap: %.2f and %.2f",
				st.FirstResponse.MeanUS/1e3, mean(first)/1e3, r.Client.Response.MeanUS/1e3, mean(total)/1e3, st.Gap.MeanUS/1e3, gap/1e3)
			if before < 0 || math.Abs(whole-before) > 0.1*mean(total) {
				t.Errorf("beside the simulator's own time, the first response takes %.0f µs and the whole %.0f", before, whole)
			}
			if math.Abs(st.Gap.MeanUS/gap-1) > 0.1 {
				t.Errorf("the mean gap is %.0f µs, the simulator's log says %.0f", st.Gap.MeanUS, gap)
			}
			if st.FirstResponse.P50US >= r.Client.Response.P50US {
				t.Errorf("the first response comes at %.0f µs, the last at %.0f", st.FirstResponse.P50US, r.Client.Response.P50US)
			}
		})
	}
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// TestErrorsWithinStreams: a request that breaks off in the middle is one
// failure of its class, however many responses it had.
func TestErrorsWithinStreams(t *testing.T) {
	for class, args := range map[string][]string{
		"grpc stream error": {}, "http stream error": {"--endpoint", "generate-stream"},
	} {
		hc := tritonControl(t)
		fetch(t, hc, http.MethodDelete, "http://sim/requests", "")
		r := benchJSON(t, 3, append(args, "lapsing", "--input-data", dataFile(t, prompts), "--concurrency", "4", "--requests", "200", "--warmup", "0")...)
		failed := uint64(0)
		for _, l := range simulatorLog(t, hc, r) {
			if l.Status != "OK" {
				failed++
			}
		}
		if failed == 0 || r.Client.Failed != failed || r.Client.Succeeded != 200-failed || len(r.Client.Errors) != 1 ||
			r.Client.Errors[0].Class != class || !strings.Contains(r.Client.Errors[0].First, "lost the thread") {
			t.Errorf("the simulator failed %d of 200; the client counts %d: %+v", failed, r.Client.Failed, r.Client.Errors)
		}
		if r.Client.Stream.FirstResponse.Count != r.Client.Succeeded {
			t.Errorf("%d first responses of %d requests", r.Client.Stream.FirstResponse.Count, r.Client.Succeeded)
		}
	}
}

// TestSequencesAreUnderstood: a stateful model accepts every request, which it
// wouldn't if one came out of order, twice, or without its start.
func TestSequencesAreUnderstood(t *testing.T) {
	for _, args := range [][]string{
		{"--concurrency", "6", "--sequence-length", "7", "--sequence-length-variation", "40%"},
		{"--concurrency", "3", "--protocol", "grpc"},
		{"--rate", "200", "--protocol", "grpc", "--sequence-length", "5"},
		{"--concurrency", "2", "--input-data", dataFile(t, `{"data": [[{"INPUT": [1]}, {"INPUT": [2]}], [{"INPUT": [3]}]], "validation_data": [[{"OUTPUT": [1]}, {"OUTPUT": [3]}], [{"OUTPUT": [3]}]]}`), "--validate"},
	} {
		r := benchJSON(t, 0, append(args, "tally", "--requests", "400", "--warmup", "0")...)
		if r.Client.Succeeded != 400 {
			t.Errorf("%v: %d of 400 succeeded: %+v", args, r.Client.Succeeded, r.Client.Errors)
		}
	}
}

// TestValidation: answers are compared with what the file expects, and a wrong
// one is an error that names the place.
func TestValidation(t *testing.T) {
	data := dataFile(t, `{"data": [{"INPUT0": [1, 2, 3, 4]}, {"INPUT0": [5, 6, 7, 8]}], "validation_data": [{"OUTPUT0": [1, 2, 3, 4]}, {"OUTPUT0": [5, 6, 7.5, 8]}]}`)
	for _, args := range [][]string{{}, {"--encoding", "json"}, {"--protocol", "grpc"}} {
		r := benchJSON(t, 3, append(args, "steady", "--input-data", data, "--validate", "--concurrency", "4", "--requests", "20", "--warmup", "0")...)
		if r.Client.Succeeded != 10 || r.Client.Failed != 10 || len(r.Client.Errors) != 1 || r.Client.Errors[0].Class != "wrong result" ||
			!strings.Contains(r.Client.Errors[0].First, "OUTPUT0") || !strings.Contains(r.Client.Errors[0].First, "7.5") {
			t.Errorf("%v: %d ok, %d failed: %+v", args, r.Client.Succeeded, r.Client.Failed, r.Client.Errors)
		}
	}
}

// TestPerfAnalyzerFiles: request intervals are read, and the result comes under
// perf_analyzer's columns.
func TestPerfAnalyzerFiles(t *testing.T) {
	gaps := filepath.Join(t.TempDir(), "gaps.txt")
	if err := os.WriteFile(gaps, []byte("20000\n0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"mixed", "--request-intervals", gaps, "--requests", "100", "--warmup", "0"}
	r := benchJSON(t, 0, args...)
	// Requests come in pairs every 20 ms: the last is due after 49 gaps.
	if r.Client.Succeeded != 100 || r.Load.Arrival != "intervals" || r.Load.IntervalsFile != gaps || r.Load.RequestRatePerSecond != 100 || r.Client.ElapsedSeconds < 0.98 {
		t.Errorf("%d ok in %v s, load %+v", r.Client.Succeeded, r.Client.ElapsedSeconds, r.Load)
	}
	o := plugin(t, append([]string{"bench", "-o", "perf-analyzer-csv"}, args...)...)
	rows, err := csv.NewReader(strings.NewReader(o.stdout)).ReadAll()
	if o.code != 0 || err != nil || len(rows) != 2 || rows[0][0] != "Request Rate" || rows[1][0] != "100" || len(rows[0]) != 20 {
		t.Fatalf("exit code %d, %v: %q", o.code, err, o.stdout)
	}
	column := func(name string) float64 {
		v, err := strconv.ParseFloat(rows[1][slices.Index(rows[0], name)], 64)
		if err != nil {
			t.Error(err)
		}
		return v
	}
	if p50 := column("p50 latency"); column("Server Compute Infer") <= 0 || p50 < 1000 || column("p99 latency") < p50 || column("Inferences/Second") <= 0 {
		t.Errorf("the row is %q", rows[1])
	}
}
