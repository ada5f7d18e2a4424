package report

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/muesli/termenv"
)

// streamSample is sample for a language model whose tokens come one by one.
func streamSample() *Bench {
	b := sample()
	b.Request = Request{Protocol: "HTTP", Endpoint: "generate-stream", Encoding: "json", BatchSize: 1, SizeBytes: 45, Data: "prompts.json", Inputs: []Tensor{{Name: "text_input", Datatype: "BYTES", Shape: []int64{1}}}}
	b.Client.Stream = &Stream{
		Responses: 149_900, ResponseRatePerSecond: 4993, ResponsesPerRequest: 10, MinResponses: 1, MaxResponses: 64, Tokens: 149_900, TokenRatePerSecond: 4993,
		FirstResponse: &Latency{14990, 4100, 1100, 3900, 6100, 7200, 9900, 15000, 31_000},
		Gap:           &Latency{134_910, 1700, 300, 1600, 2100, 2400, 3900, 8000, 22_000},
	}
	return b
}

func TestStreamGolden(t *testing.T) {
	b := streamSample()
	golden(t, "stream.txt", []byte(text(t, b, termenv.Ascii)))
	b.Client.Stream.Tokens *= 2 // the model counts several per response
	if got := text(t, b, termenv.Ascii); !strings.Contains(got, "first resp ") || strings.Contains(got, "1st token") {
		t.Errorf("responses are taken for tokens:\n%s", got)
	}
	var out bytes.Buffer
	if err := JSON(&out, streamSample()); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{`"first_response_time"`, `"response_gap"`, `"responses_per_request_mean": 10`, `"token_rate_per_second": 4993`, `"endpoint": "generate-stream"`} {
		if !strings.Contains(out.String(), field) {
			t.Errorf("the JSON has no %s", field)
		}
	}
}

// TestPerfAnalyzerCSV: the header is perf_analyzer's own, and each column holds
// its own figure.
func TestPerfAnalyzerCSV(t *testing.T) {
	const header = "Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency,Avg latency,request/response,response wait,Avg GPU Utilization,Avg GPU Power Usage,Max GPU Memory Usage,Total GPU Memory\n"
	closed := sample()
	closed.Load = Load{Mode: "closed", Concurrency: 4}
	unknown := sample()
	unknown.Server, unknown.GPU, unknown.Client.Response = nil, nil, nil
	const gpu = "GPU-11111111-2222-3333-4444-555555555555:"
	for _, tt := range []struct {
		name string
		b    *Bench
		want string
	}{
		{"open", sample(), "Request Rate," + header + "500,499.3,0,1180,12100,20,5900,100,0,18100,29900,33000,46200,19400,,," + gpu + "0.731;," + gpu + "231;," + gpu + "7300000000;," + gpu + "42900000000;\n"},
		{"closed", closed, "Concurrency," + header + "4,499.3,0,1180,12100,20,5900,100,0,18100,29900,33000,46200,19400,,," + gpu + "0.731;," + gpu + "231;," + gpu + "7300000000;," + gpu + "42900000000;\n"},
		{"stream", streamSample(), "Request Rate," + header + "500,499.3,0,1180,12100,20,5900,100,0,3900,6100,7200,9900,4100,,," + gpu + "0.731;," + gpu + "231;," + gpu + "7300000000;," + gpu + "42900000000;\n"},
		{"little known", unknown, "Request Rate," + header + "500,499.3,0,,,,,,0,,,,,,,,,,,\n"},
	} {
		var out bytes.Buffer
		if err := PerfAnalyzerCSV(&out, tt.b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, out.String()); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if rows, err := csv.NewReader(&out).ReadAll(); err != nil || len(rows) != 2 {
			t.Errorf("%s: %d rows, %v", tt.name, len(rows), err)
		}
	}
}
