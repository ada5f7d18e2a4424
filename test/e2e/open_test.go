//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// shown collects what a running program prints.
type shown struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shown) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shown) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// opened is a running "observe open".
type opened struct {
	cmd            *exec.Cmd
	stdout, stderr shown
	ended          chan struct{}
}

// open starts "observe open". Unless it is asked to, nothing that it prints
// until its end may hold Grafana's password.
func open(t *testing.T, env []string, args ...string) *opened {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	r := &opened{cmd: command(ctx, "kubectl-triton", env, append([]string{"observe", "open"}, args...)...), ended: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		_ = r.cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
		for _, a := range args {
			if a == "--show-password" {
				return
			}
		}
		noPassword(t, r.stdout.String()+r.stderr.String())
	})
	return r
}

func noPassword(t *testing.T, text string) {
	t.Helper()
	if _, password := grafanaLogin(t); strings.Contains(text, password) {
		t.Errorf("the password was printed without being asked for:\n%s", text)
	}
}

func grafanaLogin(t *testing.T) (user, password string) {
	t.Helper()
	secret, err := client.CoreV1().Secrets("monitoring").Get(context.Background(), "prom-operator-grafana", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(secret.Data["admin-user"]), string(secret.Data["admin-password"])
}

// says waits for a sentence on standard error.
func (r *opened) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("%q in %q", text, r.stderr.String()), func() bool { return strings.Contains(r.stderr.String(), text) })
}

// url waits for the address, the first line of standard output.
func (r *opened) url(t *testing.T) string {
	t.Helper()
	line, whole := "", false
	eventually(t, 30*time.Second, "an address", func() bool {
		line, _, whole = strings.Cut(r.stdout.String(), "\n")
		select {
		case <-r.ended:
			t.Fatalf("it ended: %s", r.stderr.String())
		default:
		}
		return whole
	})
	return line
}

// exit waits for the end.
func (r *opened) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("it did not end: %s", r.stderr.String())
	}
	return r.cmd.ProcessState.ExitCode()
}

// status asks an address once, over a new connection.
func status(t *testing.T, address string) (int, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func hostOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		t.Fatalf("%q is not an address", address)
	}
	return u.Host
}

// TestOpenGrafana: the printed address answers, on loopback only; the login is
// where it is said to be; Ctrl-C ends it with 0 and frees the port.
func TestOpenGrafana(t *testing.T) {
	r := open(t, nil, "--port", "0")
	host := hostOf(t, r.url(t))
	if code, body, err := status(t, "http://"+host+"/api/health"); err != nil || code != http.StatusOK || !strings.Contains(body, `"database"`) {
		t.Errorf("Grafana's health is %d %q, %v", code, body, err)
	}
	_, port, err := net.SplitHostPort(host)
	if err != nil || !strings.HasPrefix(host, "127.0.0.1:") {
		t.Errorf("the address's host is %s, %v", host, err)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip := a.(*net.IPNet).IP
		if ip.Equal(net.IPv4(127, 0, 0, 1)) || ip.IsLinkLocalUnicast() {
			continue
		}
		if conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), port), time.Second); err == nil {
			conn.Close()
			t.Errorf("it listens on %s too", ip)
		}
	}
	r.says(t, "Secret monitoring/prom-operator-grafana, keys admin-user and admin-password")
	r.says(t, "forward  until Ctrl-C")

	// The command that it names prints the password.
	var printed string
	for line := range strings.SplitSeq(r.stderr.String(), "\n") {
		if strings.HasPrefix(line, "kubectl ") {
			printed = line
		}
	}
	shell := exec.CommandContext(t.Context(), "sh", "-c", printed)
	shell.Env = []string{"PATH=" + binDir + ":" + os.Getenv("PATH"), "KUBECONFIG=" + kubeconfig, "HOME=" + os.TempDir()}
	out, err := shell.Output()
	if _, password := grafanaLogin(t); err != nil || string(out) != password {
		t.Errorf("%q printed %q, %v", printed, out, err)
	}

	interrupt(t, r.cmd)
	if code := r.exit(t); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	l, err := net.Listen("tcp", host)
	if err != nil {
		t.Errorf("the port is not free again: %v", err)
	} else {
		l.Close()
	}
	if strings.Count(r.stdout.String(), "\n") != 1 || strings.Contains(r.stdout.String()+r.stderr.String(), "\x1b") {
		t.Errorf("standard output is more than one plain address: %q, %q", r.stdout.String(), r.stderr.String())
	}
}

// TestOpenSurvivesARestart: the local port stays while the pod goes, and leads
// to its successor.
func TestOpenSurvivesARestart(t *testing.T) {
	for _, transport := range []string{"spdy", "websocket"} {
		t.Run(transport, func(t *testing.T) {
			r := open(t, nil, "grafana", "--port", "0", "--transport", transport)
			address := "http://" + hostOf(t, r.url(t)) + "/api/health"
			before := readyPod(t, "monitoring", "app.kubernetes.io/name=grafana").Name
			deletePod(t, "monitoring", "app.kubernetes.io/name=grafana")
			r.says(t, "has taken over")
			after := readyPod(t, "monitoring", "app.kubernetes.io/name=grafana").Name
			want := fmt.Sprintf("pod %s is gone; pod %s on node cpu-node-0 has taken over", before, after)
			if !strings.Contains(r.stderr.String(), want) || before == after {
				t.Errorf("it says %q, want %q", r.stderr.String(), want)
			}
			if code, _, err := status(t, address); err != nil || code != http.StatusOK {
				t.Errorf("the address answers %d, %v", code, err)
			}
		})
	}
}

// TestOpenSaysThatThePodIsSick: a target that stops to answer without its pod
// going has a name, and so has its return.
func TestOpenSaysThatThePodIsSick(t *testing.T) {
	pod := readyPod(t, "monitoring", "app.kubernetes.io/name=grafana")
	control := dialPod(t, "monitoring", pod.Name, "3001")
	r := open(t, nil, "grafana", "--port", "0")
	r.url(t)
	fetch(t, control, http.MethodPut, "http://sim/sim/behaviour", `[{"path_prefix":"/api/health","status":500}]`)
	r.says(t, "Grafana no longer answers from pod "+pod.Name+" (")
	fetch(t, control, http.MethodDelete, "http://sim/sim/behaviour", "")
	r.says(t, "pod "+pod.Name+" answers again")
}

// TestOpenTriton forwards all three ports.
func TestOpenTriton(t *testing.T) {
	r := open(t, nil, "triton", "--port", "0")
	r.url(t)
	r.says(t, "until Ctrl-C")
	address := map[string]string{}
	for line := range strings.Lines(r.stdout.String()) {
		if f := strings.Fields(line); len(f) == 2 {
			address[f[0]] = f[1]
		}
	}
	if code, _, err := status(t, address["HTTP"]+"/v2/health/ready"); err != nil || code != http.StatusOK {
		t.Errorf("HTTP answers %d, %v", code, err)
	}
	if code, body, err := status(t, address["metrics"]); err != nil || code != http.StatusOK || !strings.Contains(body, "nv_inference_request_success") {
		t.Errorf("the metrics page answers %d, %v: %.80q", code, err, body)
	}
	conn, err := triton.DialGRPC(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address["gRPC"])
	}, triton.GRPCAddress{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	live, err := inferencepb.NewGRPCInferenceServiceClient(conn).ServerLive(t.Context(), &inferencepb.ServerLiveRequest{})
	if err != nil || !live.GetLive() {
		t.Errorf("gRPC says %v, %v", live, err)
	}
	if strings.Contains(r.stderr.String(), "does not answer") {
		t.Error(r.stderr.String())
	}
}

// TestOpenPorts: a usual port that is taken gives way, a chosen one does not.
func TestOpenPorts(t *testing.T) {
	usual, err := net.Listen("tcp", "127.0.0.1:9090")
	if err == nil { // else someone else has it, which serves as well
		defer usual.Close()
	}
	r := open(t, nil, "prometheus")
	address := r.url(t)
	r.says(t, "local port 9090 is taken; Prometheus is on ")
	if code, _, err := status(t, address+"-/ready"); err != nil || code != http.StatusOK || strings.Contains(address, ":9090") {
		t.Errorf("%s answers %d, %v", address, code, err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	refused := open(t, nil, "prometheus", "--port", port)
	if code := refused.exit(t); code != 1 || !strings.Contains(refused.stderr.String(), "local port "+port+" on 127.0.0.1 is taken") || refused.stdout.String() != "" {
		t.Errorf("exit code %d: %s", code, refused.stderr.String())
	}
}

// TestOpenWrong: each wrong case gets one sentence with the next step.
func TestOpenWrong(t *testing.T) {
	serve(t, "monitoring", "e2e-not-prometheus", nil, map[string]string{"app.kubernetes.io/name": "grafana"}, 9090, 3000)
	serve(t, "monitoring", "e2e-empty", nil, map[string]string{"app": "nobody"}, 80, 80)
	serve(t, "triton", "e2e-no-http", nil, map[string]string{"app": "triton-infer"}, 7777, 7777)
	nothing := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		name string
		env  []string
		args []string
		code int
		want []string
	}{
		{"none here, one there", nil, []string{"grafana", "--stack-namespace", "triton"}, 1, []string{"no Grafana in namespace triton", "--stack-namespace monitoring --service prom-operator-grafana"}},
		{"none anywhere", nil, []string{"alertmanager", "--stack-namespace", "triton"}, 1, []string{"no Alertmanager in namespace triton"}},
		{"no such Service", nil, []string{"--service", "nope"}, 1, []string{"no Service nope in namespace monitoring", "prom-operator-grafana"}},
		{"no such Triton", nil, []string{"triton", "--service", "nope"}, 1, []string{"no Service nope in namespace triton", "triton-infer"}},
		{"Triton without HTTP", nil, []string{"triton", "--service", "e2e-no-http"}, 1, []string{"no port that looks like Triton's HTTP", "kubectl -n triton port-forward svc/e2e-no-http"}},
		{"another program", nil, []string{"prometheus", "--service", "e2e-not-prometheus", "--port", "0"}, 1, []string{"could not reach Prometheus", "/-/ready", "--service"}},
		{"no pod in time", nil, []string{"grafana", "--service", "e2e-empty", "--port", "0", "--timeout", "2s"}, 1, []string{"did not answer within 2s", "app=nobody", "kubectl get pods"}},
		{"unknown dashboard", nil, []string{"--dashboard", "nope", "--port", "0"}, 1, []string{"no dashboard with the uid nope"}},
		{"no kubeconfig", []string{"KUBECONFIG=" + nothing}, nil, 1, []string{"no kubeconfig", "--kubeconfig"}},
		{"unreachable API server", []string{"KUBECONFIG=" + kubeconfigFor(t, "https://"+deadAddress(t), "")}, nil, 1, []string{"can't be reached", "kubectl cluster-info"}},
		{"RBAC: no port-forward", []string{"KUBECONFIG=" + limitedUser(t, "openforward", rule("services", "get", "list"), rule("pods", "get", "list", "watch"))}, []string{"--port", "0"}, 1, []string{"not allowed", "pods/portforward", "auth can-i"}},
		{"verbose", nil, []string{"-v=9"}, 2, []string{"--help"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			r := open(t, c.env, c.args...)
			if code := r.exit(t); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			lines := strings.Split(strings.TrimSpace(r.stderr.String()), "\n")
			message := lines[len(lines)-1]
			for _, w := range c.want {
				if !strings.Contains(message, w) {
					t.Errorf("%q is not in the message", w)
				}
			}
			if !strings.HasPrefix(message, "error: ") || strings.Contains(message, ".go:") || r.stdout.String() != "" {
				t.Errorf("standard output %q, standard error %q", r.stdout.String(), r.stderr.String())
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			t.Log(message)
		})
	}
}

// serve makes a Service over pods of the sandbox.
func serve(t *testing.T, namespace, name string, labels, selector map[string]string, port, target int32) {
	t.Helper()
	must(t, func() error {
		_, err := client.CoreV1().Services(namespace).Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec:       corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{Name: "web", Port: port, TargetPort: intstr.FromInt32(target)}}},
		}, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() {
		if err := client.CoreV1().Services(namespace).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// TestOpenFindsByLabel: Alertmanager by the chart's label (its page of readiness
// has the path of Prometheus's, which stands behind the Service here); of two
// Grafanas one must be chosen.
func TestOpenFindsByLabel(t *testing.T) {
	serve(t, "monitoring", "e2e-am", map[string]string{"app": "kube-prometheus-stack-alertmanager"}, map[string]string{"app.kubernetes.io/name": "prometheus"}, 9093, 9090)
	r := open(t, nil, "alertmanager", "--port", "0")
	if code, _, err := status(t, r.url(t)+"-/ready"); err != nil || code != http.StatusOK {
		t.Errorf("it answers %d, %v", code, err)
	}
	r.says(t, "monitoring/e2e-am answers")

	serve(t, "monitoring", "e2e-grafana", map[string]string{"app.kubernetes.io/name": "grafana"}, map[string]string{"app.kubernetes.io/name": "grafana"}, 80, 3000)
	two := open(t, nil)
	if code := two.exit(t); code != 2 || !strings.Contains(two.stderr.String(), "--service e2e-grafana, --service prom-operator-grafana") {
		t.Errorf("exit code %d: %s", code, two.stderr.String())
	}
	chosen := open(t, nil, "--service", "e2e-grafana", "--port", "0")
	chosen.url(t)
	chosen.says(t, "monitoring/e2e-grafana answers")
}

// TestOpenShowsThePasswordWhenAsked, and then only.
func TestOpenShowsThePasswordWhenAsked(t *testing.T) {
	r := open(t, nil, "--port", "0", "--show-password")
	r.says(t, "until Ctrl-C")
	user, password := grafanaLogin(t)
	if want := fmt.Sprintf("\nuser     %s\npassword %s\n", user, password); !strings.HasSuffix(r.stdout.String(), want) || strings.Contains(r.stderr.String(), password) {
		t.Errorf("standard output is %q, standard error %q", r.stdout.String(), r.stderr.String())
	}
	// Who may not read the Secret is told so, and can open Grafana all the same.
	config := limitedUser(t, "openlogin", rule("services", "get", "list"), rule("pods", "get", "list", "watch"), rule("pods/portforward", "create", "get"))
	limited := open(t, []string{"KUBECONFIG=" + config}, "--port", "0")
	limited.url(t)
	limited.says(t, "login    could not read the Secret prom-operator-grafana")
}

// TestOpenDashboards: the address leads to a dashboard that exists, over the
// time that was asked for.
func TestOpenDashboards(t *testing.T) {
	r := open(t, nil, "--port", "0")
	host := hostOf(t, r.url(t))
	want := ""
	for _, uid := range []string{"loadtest-annotated", "triton-latency", "gpu-dashboard"} {
		if want == "" && grafanaCall(t, host, http.MethodGet, "/api/dashboards/uid/"+uid, nil) == http.StatusOK {
			want = uid
		}
	}
	if want == "" {
		want = "triton-latency"
		saveDashboard(t, host, want)
	}
	saveDashboard(t, host, "e2e-open")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "/d/" + want + "?from=now-900s&to=now"},
		{[]string{"--dashboard", "e2e-open", "--from", "2h", "--to", "1h"}, "/d/e2e-open?from=now-7200s&to=now-3600s"},
		{[]string{"--dashboard", "e2e-open", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z"}, "/d/e2e-open?from=1767225600000&to=1767229200000"},
	} {
		at := open(t, nil, append(c.args, "--port", "0")...)
		if address := at.url(t); address != "http://"+hostOf(t, address)+c.want {
			t.Errorf("%v opens %s, want …%s", c.args, address, c.want)
		}
	}
}

func grafanaCall(t *testing.T, host, method, path string, body any) int {
	t.Helper()
	user, password := grafanaLogin(t)
	return grafanaCallAs(t, [2]string{user, password}, host, method, path, body)
}

func grafanaCallAs(t *testing.T, login [2]string, host, method, path string, body any) int {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+host+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(login[0], login[1])
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func saveDashboard(t *testing.T, host, uid string) {
	t.Helper()
	if code := grafanaCall(t, host, http.MethodPost, "/api/dashboards/db", map[string]any{"dashboard": map[string]any{"uid": uid, "title": uid}, "overwrite": true}); code != http.StatusOK {
		t.Fatalf("saving dashboard %s: %d", uid, code)
	}
}

// TestOpenInterruptedEarly: Ctrl-C before anything has answered is an
// interruption.
func TestOpenInterruptedEarly(t *testing.T) {
	serve(t, "monitoring", "e2e-nobody", nil, map[string]string{"app": "nobody"}, 80, 80)
	r := open(t, nil, "--service", "e2e-nobody", "--port", "0")
	r.says(t, "waiting for Grafana: no pod is behind Service")
	interrupt(t, r.cmd)
	if code := r.exit(t); code != 130 || !strings.Contains(r.stderr.String(), "interrupted before grafana answered") {
		t.Errorf("exit code %d: %s", code, r.stderr.String())
	}
}

// TestOpenTheBrowser: on a terminal the address is opened, and the opener's own
// output stays off the screen; not with --no-browser, and not on a pipe.
func TestOpenTheBrowser(t *testing.T) {
	dir := t.TempDir()
	record := filepath.Join(dir, "opened")
	opener := "#!/bin/sh\necho noise; echo noise >&2\necho \"$1\" > " + record + ".new && mv " + record + ".new " + record + "\n"
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(opener), 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	onTerminal := func(args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := command(ctx, "kubectl-triton", env, append([]string{"observe", "open", "--port", "0"}, args...)...)
		keys, screen := terminal(t, cmd, 80, darkBackground)
		eventually(t, 30*time.Second, "the end of the beginning", func() bool { return strings.Contains(screen.String(), "until Ctrl-C") })
		if len(args) == 0 {
			eventually(t, 10*time.Second, "the browser", func() bool { _, err := os.Stat(record); return err == nil })
		}
		if _, err := keys.WriteString("\x03"); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("after Ctrl-C: %v", err)
		}
		return screen.String()
	}
	screen := onTerminal()
	address, err := os.ReadFile(record)
	if err != nil || len(address) == 0 || !strings.Contains(screen, strings.TrimSpace(string(address))) || strings.Contains(screen, "noise") {
		t.Errorf("the browser was given %q, %v; the screen shows %q", address, err, screen)
	}
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	screen = onTerminal("--no-browser")
	piped := open(t, env, "--port", "0")
	piped.url(t)
	interrupt(t, piped.cmd)
	piped.exit(t)
	if _, err := os.Stat(record); err == nil {
		t.Error("the browser was opened although nobody wanted it")
	}
	noPassword(t, screen)
}
