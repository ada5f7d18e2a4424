package plugin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// onePod is a cluster of one pod, for the questions about monitoring.
type onePod struct {
	monitoringReads
	pod       corev1.Pod
	others    []string // further ones
	explained *int     // how often it was asked why a target is missing
}

func (r onePod) pods(context.Context, string, labels.Set) ([]corev1.Pod, error) {
	pods := []corev1.Pod{r.pod}
	for _, name := range r.others {
		pod := *r.pod.DeepCopy()
		pod.Name = name
		pods = append(pods, pod)
	}
	return pods, nil
}

func (r onePod) monitors() *stack.Monitors { return &stack.Monitors{} }

func (r onePod) prometheuses(context.Context) ([]*stack.Prometheus, error) {
	*r.explained++
	return nil, nil
}

// monitored asks a Prometheus that answers by path.
func monitored(t *testing.T, w watched, answers map[string]string) *monitoring {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"status":"success","data":%s}`, answers[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	way := &http.Transport{}
	t.Cleanup(way.CloseIdleConnections)
	prometheus, err := metrics.NewPrometheus(server.URL, way)
	if err != nil {
		t.Fatal(err)
	}
	pod := tritonObjects()[1].(*corev1.Pod)
	return &monitoring{cluster: &cluster{}, watched: w, prometheus: prometheus, reads: onePod{pod: *pod}}
}

// TestTritonSeriesCountOnce: several Tritons of a namespace have its series
// together.
func TestTritonSeriesCountOnce(t *testing.T) {
	m := monitored(t, watched{tritons: []stack.Target{{Namespace: "triton", Name: "a"}, {Namespace: "triton", Name: "b"}}},
		map[string]string{"/api/v1/query": `{"resultType":"vector","result":[{"metric":{},"value":[1,"7"]}]}`})
	if o := m.tritonSeries(t.Context()); o.Detail != "7 nv_inference_* series" {
		t.Errorf("%+v", o)
	}
}

// TestRetentionIsCheap: a Prometheus in production has millions of series, and is
// not made to load them all.
func TestRetentionIsCheap(t *testing.T) {
	m := monitored(t, watched{}, map[string]string{
		"/api/v1/status/runtimeinfo": `{"storageRetention":"10d"}`,
		"/api/v1/status/tsdb":        `{"headStats":{"numSeries":5000000}}`,
		"/api/v1/query":              `{"resultType":"vector","result":[{"metric":{},"value":[1,"7"]}]}`,
	})
	if o := m.retention(t.Context()); o.Detail != "kept for 10d; 5,000,000 series" {
		t.Errorf("%+v", o)
	}
}

// TestPrometheusThatMayNotBeRead is not one that isn't there.
func TestPrometheusThatMayNotBeRead(t *testing.T) {
	l := fakeLookup()
	l.options.Prometheus = "monitoring/x"
	if _, err := l.choosePrometheus(); err == nil || !strings.Contains(err.Error(), "is not known, for the Prometheuses could not be read") {
		t.Error(err)
	}
	l.scrapes = &stack.Monitors{}
	if _, err := l.choosePrometheus(); err == nil || !strings.Contains(err.Error(), "there is no Prometheus monitoring/x") {
		t.Error(err)
	}
}

// TestConcerns: the stack's pods are known by the charts' labels too, whatever a
// mirror calls their images.
func TestConcerns(t *testing.T) {
	for name, want := range map[string]bool{"prometheus": true, "grafana": true, "dcgm-exporter": true, "nginx": false} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/name": name}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "mirror.example/team/4711:1"}}}}
		if concerns(p) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

// TestMoreExportersThanHere: a Prometheus may know those of other clusters.
func TestMoreExportersThanHere(t *testing.T) {
	m := monitored(t, watched{exporters: []stack.Target{{Namespace: "triton", Name: "dcgm-exporter", Port: 9400}}}, map[string]string{
		"/api/v1/targets": `{"activeTargets":[{"scrapeUrl":"http://10.0.0.1:9400/metrics","health":"up","labels":{"namespace":"triton","pod":"triton-0"}}]}`,
		"/api/v1/query":   `{"resultType":"vector","result":[{"metric":{},"value":[1,"5"]}]}`,
	})
	if o := m.gpuSeries(t.Context()); o.Detail != "series of 5 GPUs from 5 exporters, 1 of them ready in this cluster" {
		t.Errorf("%+v", o)
	}
}

// TestOneTargetIsExplained: what is wrong and why are of the same pod, and
// Prometheus is asked for its dropped targets once and not for each pod.
func TestOneTargetIsExplained(t *testing.T) {
	m := monitored(t, watched{prometheus: stackService{namespace: "monitoring", name: "x"}, tritons: []stack.Target{{Namespace: "triton", Name: "triton-infer", Port: 8002}}},
		map[string]string{"/api/v1/targets": `{"activeTargets":[{"scrapeUrl":"http://10.0.0.1:8002/metrics","health":"down","lastError":"it is full","labels":{"namespace":"triton","pod":"triton-9"}}]}`})
	reads := m.reads.(onePod)
	asked := 0
	reads.others, reads.explained = []string{"triton-1", "triton-9"}, &asked
	m.reads = reads
	o := m.tritonTargets(t.Context())
	if f := o.Findings[0]; !strings.Contains(f.What, "0 of 3 up; Prometheus has no target for pod triton-0") || !strings.Contains(f.Why, "is not run by an operator") || asked != 1 {
		t.Errorf("explained %d times: %+v", asked, f)
	}
}

// TestTargetOfThePort: a pod with a sidecar has several targets.
func TestTargetOfThePort(t *testing.T) {
	target := func(port int, health string) string {
		return fmt.Sprintf(`{"scrapeUrl":"http://10.0.0.1:%d/metrics","health":%q,"lastError":"from port %d","labels":{"namespace":"triton","pod":"triton-0"}}`, port, health, port)
	}
	for _, c := range []struct{ targets, want string }{
		{target(15020, "down") + "," + target(8002, "up"), "1 of 1 up"},
		{target(15020, "up") + "," + target(8002, "down"), "0 of 1 up; scraping pod triton-0 fails: from port 8002"},
		{target(8002, "down") + "," + target(8002, "up"), "1 of 1 up"},
		{target(8443, "up"), "1 of 1 up"}, // a proxy in front of it
	} {
		m := monitored(t, watched{tritons: []stack.Target{{Namespace: "triton", Name: "triton-infer", Port: 8002}}},
			map[string]string{"/api/v1/targets": `{"activeTargets":[` + c.targets + `]}`})
		o := m.tritonTargets(t.Context())
		got := o.Detail
		if len(o.Findings) > 0 {
			got = o.Findings[0].What
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.targets, got, c.want)
		}
	}
}

func TestCollectInterval(t *testing.T) {
	for name, c := range map[string]struct {
		args, env string
		want      time.Duration
	}{
		"default":            {"", "", 30 * time.Second},
		"flag":               {"--collect-interval=1000", "", time.Second},
		"flag, two words":    {"-f /etc/x.csv -c 500", "", 500 * time.Millisecond},
		"variable":           {"", "2000", 2 * time.Second},
		"flag over variable": {"--collect-interval=1000", "2000", time.Second},
		"nonsense":           {"--collect-interval=fast", "-5", 30 * time.Second},
		"flag at the end":    {"--collect-interval", "", 30 * time.Second},
		"absurd":             {"-c 99999999999999999999", "", 30 * time.Second},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: []string{c.args}, Env: []corev1.EnvVar{{Name: "DCGM_EXPORTER_INTERVAL", Value: c.env}}}}}}
		if got := collectInterval(pod); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{Name: "DCGM_EXPORTER_INTERVAL", ValueFrom: &corev1.EnvVarSource{}}}}}}}
	if got := collectInterval(pod); got != 0 {
		t.Errorf("from another object: %s", got)
	}
	pod.Spec.Containers[0].Args = []string{"-c", "1000"}
	if got := collectInterval(pod); got != time.Second {
		t.Errorf("a flag over another object's: %s", got)
	}
}

func TestExporterNames(t *testing.T) {
	page := func(name string, old, recent bool) exporterPage {
		return exporterPage{pod: corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}, any: true, old: old, recent: recent}
	}
	for name, c := range map[string]struct {
		pages []exporterPage
		want  string
	}{
		"old":    {[]exporterPage{page("a", true, false)}, ""},
		"recent": {[]exporterPage{page("a", false, true)}, ""},
		"mixed":  {[]exporterPage{page("a", true, false), page("b", false, true)}, "some exporters use the names of 4.8 (a) and some those of 4.9 (b)"},
	} {
		o := (&exporterPages{c.pages}).judgeNames()
		if c.want == "" && (len(o.Findings) > 0 || o.Detail == "") || c.want != "" && (len(o.Findings) != 1 || o.Findings[0].What != c.want) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
