package plugin

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// TestForeignRequestsUseEnergyToo: what other clients' requests took of the GPU is
// not this test's.
func TestForeignRequestsUseEnergyToo(t *testing.T) {
	joules := 0.5
	for _, c := range []struct {
		r    report.Bench
		want string
	}{
		{report.Bench{}, ""},
		{report.Bench{Server: &report.Server{}}, ""},
		{report.Bench{Server: &report.Server{ForeignRequests: 12}}, "other clients sent 12 requests to the same servers during the test; the server's means include them"},
		{report.Bench{Server: &report.Server{ForeignRequests: 12}, GPU: &report.GPU{Devices: []report.GPUDevice{{EnergyPerInference: &joules}}}},
			"other clients sent 12 requests to the same servers during the test; the server's means include them, and so do the GPUs' figures: an inference took less energy than is said"},
	} {
		test := &loadTest{}
		test.warnOfForeign(&c.r)
		if got := strings.Join(test.remarks, "|"); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestParseRatio(t *testing.T) {
	for text, want := range map[string]float64{"1%": 0.01, "0.01": 0.01, "0": 0, "100 %": 1, " 1 ": 1} {
		if got, err := parseRatio(text); err != nil || got != want {
			t.Errorf("%q is %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5", "200%", "NaN", "Inf"} {
		if got, err := parseRatio(text); err == nil {
			t.Errorf("%q was taken as %v", text, got)
		}
	}
}

func TestParseShapes(t *testing.T) {
	got, err := parseShapes([]string{"INPUT0:3,224,224", "serving:default:4", "scalar: 1"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]int64{"INPUT0": {3, 224, 224}, "serving:default": {4}, "scalar": {1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range [][]string{{"x"}, {":3"}, {"a:"}, {"a:-1"}, {"a:1,,2"}, {"a:1.5"}, {"a:1", "a:2"}} {
		if got, err := parseShapes(bad); err == nil {
			t.Errorf("%q was taken as %v", bad, got)
		}
	}
}

func TestParseIntervals(t *testing.T) {
	got, err := parseIntervals([]byte("1000\n\n 0 \r\n2500"))
	if diff := cmp.Diff([]time.Duration{time.Millisecond, 0, 2500 * time.Microsecond}, got); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
	for text, says := range map[string]string{
		"": "no interval above 0", "0\n0\n": "no interval above 0", "5\nx\n": "line 2", "-1": "line 1", "1.5": "line 1",
		"99999999999999": "a day", strings.Repeat("1", 100_000): "",
	} {
		if got, err := parseIntervals([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.20q was taken as %v (%v)", text, got, err)
		}
	}
}

func FuzzParseIntervals(f *testing.F) {
	f.Add("1000\n2000\n")
	f.Add("\r\n0")
	f.Fuzz(func(t *testing.T, text string) {
		intervals, err := parseIntervals([]byte(text))
		if err == nil && len(intervals) == 0 {
			t.Errorf("%q gave no interval and no error", text)
		}
	})
}

func TestParseParameters(t *testing.T) {
	got, err := parseParameters([]string{"max_tokens:256:int", "stream:true:bool", "temperature:0.5:double", "url:http://x:8000/y:string", "empty::string"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"max_tokens": int64(256), "stream": true, "temperature": 0.5, "url": "http://x:8000/y", "empty": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseShapes(f *testing.F) {
	f.Add("INPUT0:3,224,224")
	f.Add(":")
	f.Fuzz(func(t *testing.T, text string) {
		shapes, err := parseShapes([]string{text})
		if err == nil && len(shapes) != 1 {
			t.Errorf("%q gave %d shapes and no error", text, len(shapes))
		}
	})
}

// TestUsageErrors: wrong usage is exit code 2 and one line on ErrOut; nothing
// reaches Out and no cluster is asked.
func TestUsageErrors(t *testing.T) {
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	for _, c := range []struct{ args, want string }{
		{"bench --nope", "--nope"},
		{"bench a b", "takes one MODEL, not 2"},
		{"nope", "nope"},
		{"bench a --model b", "two models"},
		{"bench --rate 5 -c 5", "exclude each other"},
		{"bench --rate 0", "above 0"},
		{"bench --concurrency 0", "--concurrency"},
		{"bench --protocol ftp", "--protocol"},
		{"bench --encoding xml", "--encoding"},
		{"bench --transport carrier", "--transport"},
		{"bench --rate 1 --arrival never", "--arrival"},
		{"bench --rate 1 --pacing lazy", "--pacing"},
		{"bench -o xml", "--output"},
		{"bench --duration 0s", "--duration"},
		{"bench --duration x", "--duration"},
		{"bench --warmup -1s", "--warmup"},
		{"bench --timeout 0s", "--timeout"},
		{"bench --batch-size -1", "--batch-size"},
		{"bench --max-in-flight 0", "--max-in-flight"},
		{"bench --max-error-rate 2", "--max-error-rate"},
		{"bench --request-intervals none", "can't be read"},
		{"bench --request-intervals none --rate 5", "arrival of its own"},
		{"bench --shape x", "--shape"},
		{"bench --endpoint completions", "--endpoint"},
		{"bench --endpoint generate --protocol grpc", "HTTP only"},
		{"bench --streaming --protocol http", "--streaming"},
		{"bench --request-parameter x", "NAME:VALUE:TYPE"},
		{"bench --request-parameter x:1:float", "float"},
		{"bench --request-parameter x:one:int", "not of type int"},
		{"bench --request-parameter x:1:int --request-parameter x:2:int", "twice"},
		{"bench --sequence-length -1", "--sequence-length"},
		{"bench --sequence-length-variation 200%", "--sequence-length-variation"},
		{"bench --validate", "--input-data"},
		{"bench --validate --input-data zero", "--input-data"},
		{"bench --url localhost:8000", "http://HOST:PORT"},
		{"bench --url ftp://host:8000", "http://HOST:PORT"},
		{"bench --url http://", "names no host"},
		{"bench --url grpc://host", "names no port"},
		{"bench --url http://host:8000/v2", "only scheme, host and port"},
		{"bench --url http://host:8000?x=y", "only scheme, host and port"},
		{"bench --url http://user:hush@host:8000", "holds a login"},
		{"bench --url http://user:hush%zz@host:8000", "holds a login"},
		{"bench --url http://host:8000 --metrics-url http://user:hush@host:8002", "without a login"},
		{"bench --url http://host:8000 --service triton", "--service"},
		{"bench --url http://host:8000 --port 8000", "--port"},
		{"bench --url http://host:8000 --transport websocket", "--transport"},
		{"bench --url http://host:8000 --stack-namespace monitoring", "--stack-namespace"},
		{"bench --url http://host:8000 --namespace triton", "--namespace is about the API server"},
		{"bench --url http://host:8000 --context prod", "--context is about the API server"},
		{"bench --url http://host:8000 --token hush", "--token is about the API server"},
		{"bench --url http://host:8000 --insecure-skip-tls-verify", "not encrypted"},
		{"bench --url grpc://host:8001 --certificate-authority ca.pem", "not encrypted"},
		{"bench --url https://host --certificate-authority none", "TLS flags"},
		{"bench --url https://host --certificate-authority none --insecure-skip-tls-verify", "TLS flags"},
		{"bench --url http://host:8000 --protocol grpc", "grpc://HOST:8001"},
		{"bench --url grpc://host:8001 --protocol http", "http://HOST:8000"},
		{"bench --url http://host:8000 --streaming", "grpc://HOST:8001"},
		{"bench --url grpc://host:8001 --endpoint generate", "HTTP only"},
		{"bench --url http://host:8000 --metrics-url host:8002", "--metrics-url"},
		{"bench --metrics-url http://host:8002/metrics", "--metrics-url belongs to --url"},
		{"version extra", "unknown command"},
		{"bench m extra", "'kubectl triton bench' takes one MODEL, not 2; see 'kubectl triton bench --help'"},
		{"dashboards lint", "'kubectl triton dashboards lint' needs FILE; see"},
		{"dashboards export", "'kubectl triton dashboards export' needs UID; see"},
		{"dashboards export a b c", "'kubectl triton dashboards export' takes one UID, not 3; see"},
		{"models load", "'kubectl triton models load' needs MODEL; see"},
		{"completion", "'kubectl triton completion' needs kubectl|bash|zsh|fish|powershell; see"},
		{"completion nosuch", "invalid argument \"nosuch\""},
		{"observe open grafana triton", "'kubectl triton observe open' takes one grafana|"},
		{"bench --requests 0", "--requests must be above 0"},
		{"bench --warmup-requests 0", "--warmup-requests must be above 0"},
	} {
		var out, errOut bytes.Buffer
		code := Execute(context.Background(), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}, strings.Fields(c.args))
		message := errOut.String()
		if code != ExitUsage || !strings.Contains(message, c.want) || strings.Count(message, "\n") != 1 || out.Len() > 0 || strings.Contains(message, "hush") {
			t.Errorf("%s: exit code %d, out %q, message %q; want %d and %q", c.args, code, out.String(), message, ExitUsage, c.want)
		}
	}
}

func TestNoKubeconfig(t *testing.T) {
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	var out, errOut bytes.Buffer
	code := Execute(context.Background(), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}, []string{"bench"})
	if code != ExitCannotRun || !strings.Contains(errOut.String(), "no kubeconfig") {
		t.Errorf("exit code %d, message %q", code, errOut.String())
	}
}
