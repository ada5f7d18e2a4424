package plugin

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
)

func TestGrafanaRange(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	for _, c := range []struct{ from, to, wantFrom, wantTo, wantErr string }{
		{"15m", "now", "now-900s", "now", ""},
		{"2h30m", "1h", "now-9000s", "now-3600s", ""},
		{"now-2d/d", "now/d", "now-2d/d", "now/d", ""},
		{"2027-01-15T08:00:00Z", "now", "1800000000000", "now", "--from 2027-01-15T08:00:00Z is not before --to now"},
		{"2027-01-15T07:00:00Z", "now", "1799996400000", "now", ""},
		{"2027-01-15T09:00:00+02:00", "1800000000000", "1799996400000", "1800000000000", ""},
		{"1h", "2h", "", "", "is not before"},
		{"15", "now", "", "", `--from is "15"`},
		{"1800000000", "now", "", "", "milliseconds"},
		{"-15m", "now", "", "", `--from is "-15m"`},
		{"yesterday", "now", "", "", "RFC 3339"},
		{"15m", "now&x=1", "", "", "--to is"},
		{"", "now", "", "", `--from is ""`},
	} {
		r, err := newGrafanaRange(c.from, c.to, now)
		switch {
		case c.wantErr != "":
			if err == nil || !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("%s to %s: error %v, want %q", c.from, c.to, err, c.wantErr)
			}
		case err != nil || r.from != c.wantFrom || r.to != c.wantTo:
			t.Errorf("%s to %s is %+v, %v; want %s to %s", c.from, c.to, r, err, c.wantFrom, c.wantTo)
		}
	}
	got := grafanaRange{"now-900s", "now"}.dashboardURL("http://127.0.0.1:3000", "a b/c")
	if got != "http://127.0.0.1:3000/d/a%20b%2Fc?from=now-900s&to=now" {
		t.Errorf("the address is %s", got)
	}
}

func TestObserveOpenUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"kibana"}, "kibana"},
		{[]string{"grafana", "prometheus"}, "takes one grafana|prometheus|alertmanager|triton, not 2"},
		{[]string{"prometheus", "--dashboard", "x"}, "--dashboard is for Grafana"},
		{[]string{"triton", "--show-password"}, "--show-password is for Grafana"},
		{[]string{"triton", "--stack-namespace", "x"}, "--namespace"},
		{[]string{"--port", "70000"}, "between 0 and 65535"},
		{[]string{"--port", "-1"}, "between 0 and 65535"},
		{[]string{"--timeout", "0s"}, "--timeout"},
		{[]string{"--transport", "carrier-pigeon"}, "--transport"},
		{[]string{"--from", "x"}, "--from"},
		{[]string{"--nope"}, "--help"},
	} {
		var out, errOut bytes.Buffer
		streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}
		code := Execute(t.Context(), streams, append([]string{"observe", "open"}, c.args...))
		if code != ExitUsage || !strings.Contains(errOut.String(), c.want) || out.Len() > 0 {
			t.Errorf("%v: exit code %d, %q, %q; want %q", c.args, code, errOut.String(), out.String(), c.want)
		}
	}
}

func labelled(namespace, name string, labels map[string]string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}, Spec: corev1.ServiceSpec{Ports: ports}}
}

func TestFindInStack(t *testing.T) {
	grafana := map[string]string{"app.kubernetes.io/name": "grafana"}
	web := corev1.ServicePort{Name: "http-web", Port: 80}
	for _, c := range []struct {
		name     string
		objects  []runtime.Object
		target   string
		service  string
		want     string // namespace/name:port
		wantErr  string
		exitCode int
	}{
		{name: "by label", target: "grafana", objects: []runtime.Object{labelled("monitoring", "any", grafana, web)}, want: "monitoring/any:80"},
		{name: "by name", target: "alertmanager", objects: []runtime.Object{labelled("monitoring", "alertmanager-operated", nil, corev1.ServicePort{Name: "mesh", Port: 9094}, corev1.ServicePort{Name: "http-web", Port: 9093})}, want: "monitoring/alertmanager-operated:9093"},
		{name: "the labelled one before the operator's", target: "alertmanager", objects: []runtime.Object{
			labelled("monitoring", "alertmanager-operated", map[string]string{"operated-alertmanager": "true"}, corev1.ServicePort{Name: "http-web", Port: 9093}),
			labelled("monitoring", "am", map[string]string{"app": "kube-prometheus-stack-alertmanager"}, corev1.ServicePort{Name: "reloader-web", Port: 8080}, corev1.ServicePort{Name: "http-web", Port: 9093}),
		}, want: "monitoring/am:9093"},
		{name: "several", target: "grafana", objects: []runtime.Object{labelled("monitoring", "one", grafana, web), labelled("monitoring", "two", grafana, web)},
			wantErr: "choose one of: --service one, --service two", exitCode: ExitUsage},
		{name: "chosen", target: "grafana", service: "two", objects: []runtime.Object{labelled("monitoring", "one", grafana, web), labelled("monitoring", "two", grafana, web)}, want: "monitoring/two:80"},
		{name: "chosen and absent", target: "grafana", service: "three", objects: []runtime.Object{labelled("monitoring", "one", grafana, web)}, wantErr: "no Service three in namespace monitoring; it has: one"},
		{name: "elsewhere", target: "grafana", objects: []runtime.Object{labelled("obs", "g", grafana, web)}, wantErr: "the cluster has one at: --stack-namespace obs --service g"},
		{name: "nowhere", target: "prometheus", wantErr: "no Prometheus in namespace monitoring: no Service has one of its labels or names; install the stack with 'kubectl triton observe up'"},
		{name: "without ports", target: "grafana", objects: []runtime.Object{labelled("monitoring", "g", grafana)}, wantErr: "has no ports"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := NewObserveOpenOptions(genericiooptions.NewTestIOStreamsDiscard())
			o.Target, o.Service = c.target, c.service
			found, err := o.find(t.Context(), &cluster{client: fake.NewClientset(c.objects...), rest: &rest.Config{Host: "https://cluster"}})
			if c.wantErr != "" {
				var exit *ExitError
				if err == nil || !strings.Contains(err.Error(), c.wantErr) || c.exitCode != 0 && (!errors.As(err, &exit) || exit.Code != c.exitCode) {
					t.Errorf("the error is %v, want %q", err, c.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := found.namespace + "/" + found.name + ":" + found.ports[0].remote; got != c.want {
				t.Errorf("found %s, want %s", got, c.want)
			}
		})
	}
}

func TestAnswersHTTP(t *testing.T) {
	for _, c := range []struct {
		status int
		want   string
		wrong  bool
	}{
		{http.StatusOK, "", false},
		{http.StatusServiceUnavailable, "503", false},
		{http.StatusNotFound, "404 Not Found to GET /-/ready", true},
		{http.StatusFound, "path prefix", true},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/-/ready" {
				t.Errorf("it asked for %s", r.URL.Path)
			}
			w.WriteHeader(c.status)
		}))
		dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		}
		err := answersHTTP("Prometheus", "/-/ready")(t.Context(), dial)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || hopeless(err) != c.wrong {
			t.Errorf("%d: %v, hopeless %v; want %q, %v", c.status, err, hopeless(err), c.want, c.wrong)
		}
		server.Close()
	}
}

type failingDialer struct {
	errs  []error
	calls int
}

func (d *failingDialer) DialContext(context.Context, string, string) (net.Conn, error) {
	err := d.errs[min(d.calls, len(d.errs)-1)]
	d.calls++
	return nil, err
}

// TestPatientDialer waits for a ready pod, for nothing else, and no longer than
// its context.
func TestPatientDialer(t *testing.T) {
	noPod, refused := &portforward.NoReadyPodError{}, &portforward.RefusedError{}
	d := &failingDialer{errs: []error{noPod, noPod, refused}}
	if _, err := (patientDialer{d}).DialContext(t.Context(), "tcp", ""); !errors.Is(err, refused) || d.calls != 3 {
		t.Errorf("%v after %d calls, want the refusal after 3", err, d.calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d = &failingDialer{errs: []error{noPod}}
	if _, err := (patientDialer{d}).DialContext(ctx, "tcp", ""); !errors.Is(err, noPod) || d.calls != 1 {
		t.Errorf("%v after %d calls, want that there is no pod after 1", err, d.calls)
	}
}

// TestOpenEvents: a connection's failure is told once, and not at all while it
// is known that the target is away.
func TestOpenEvents(t *testing.T) {
	var out bytes.Buffer
	say := newOpenEvents(&out)
	target, pod := &openTarget{title: "Grafana"}, portforward.PodRef{Name: "g-1"}
	failed := errors.New("refused")
	say.waiting(target, failed)
	say.waiting(target, failed)
	say.connectionFailed(errors.New("reset"))
	say.connectionFailed(errors.New("reset"))
	say.away(target, pod, failed)
	say.connectionFailed(errors.New("another"))
	say.back("pod %s answers again", pod.Name)
	say.connectionFailed(errors.New("another"))
	say.fact("login", "a Secret")
	say.end()
	want := `waiting for Grafana: refused
a connection failed: reset
Grafana no longer answers from pod g-1 (refused); waiting for a pod that does
pod g-1 answers again
a connection failed: another
login    a Secret
`
	if out.String() != want {
		t.Errorf("it says\n%s\nwant\n%s", out.String(), want)
	}
}
