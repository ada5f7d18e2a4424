//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// background starts "bench" and returns a function that waits for its outcome.
func background(t *testing.T, args ...string) (*exec.Cmd, func() outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := command(ctx, "kubectl-triton", nil, append([]string{"bench"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, func() outcome {
		err := cmd.Wait()
		if ctx.Err() != nil {
			t.Fatalf("bench did not end: %v\n%s", err, stderr.String())
		}
		return outcome{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(begin)}
	}
}

// underLoad waits until so many requests for the model were answered.
func underLoad(t *testing.T, model string, requests int) {
	t.Helper()
	hc := tritonControl(t)
	eventually(t, 30*time.Second, "requests for "+model, func() bool {
		return strings.Count(fetch(t, hc, "GET", "http://sim/requests", ""), `"model":"`+model+`"`) >= requests
	})
}

func clearLog(t *testing.T) {
	t.Helper()
	fetch(t, tritonControl(t), "DELETE", "http://sim/requests", "")
}

func deletePod(t *testing.T, namespace, selector string) {
	t.Helper()
	deletePodAfter(t, namespace, selector, func() {})
}

// deletePodAfter prepares, kills the pod, and at the end of the test waits for
// its successor, after prepare's own cleanups.
func deletePodAfter(t *testing.T, namespace, selector string, prepare func()) {
	t.Helper()
	pod := readyPod(t, namespace, selector)
	t.Cleanup(func() {
		// Leave a whole cluster to the next test.
		deadline := time.Now().Add(time.Minute)
		for time.Now().Before(deadline) {
			list, err := client.CoreV1().Pods(namespace).List(context.Background(), metav1.ListOptions{LabelSelector: selector})
			if err == nil {
				for _, p := range list.Items {
					if p.UID != pod.UID && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].Ready {
						return
					}
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("no successor of pod %s became ready", pod.Name)
	})
	prepare()
	now := int64(0)
	if err := client.CoreV1().Pods(namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
}

// killed is what dies in the middle of a test.
type killed struct{ namespace, selector string }

var (
	tritonPod     = killed{"triton", "app=triton-infer"}
	grafanaPod    = killed{"monitoring", "app.kubernetes.io/name=grafana"}
	prometheusPod = killed{"monitoring", "app.kubernetes.io/name=prometheus"}
)

// killAndReplace runs bench without an end, kills a pod under load, waits until
// its successor does its work, and stops bench as Ctrl-C does: what the report
// must hold then depends on no clock.
func killAndReplace(t *testing.T, k killed, works func(t *testing.T, since time.Time) bool) *report.Bench {
	t.Helper()
	clearLog(t)
	cmd, wait := background(t, "steady", "--concurrency", "4", "--duration", "10m", "--warmup", "0", "--timeout", "5s", "-o", "json")
	underLoad(t, "steady", 100)
	deletePod(t, k.namespace, k.selector)
	since := time.Now()
	eventually(t, time.Minute, "a successor that works", func() bool { return works(t, since) })
	interrupt(t, cmd)
	o := wait()
	if o.code != 130 {
		t.Errorf("exit code %d, want 130: %s", o.code, o.stderr)
	}
	return decode(t, o.stdout)
}

// killForGood kills a pod in the middle of a test of 12 s, with no node left to
// take a successor. The run must end on time and print its report.
func killForGood(t *testing.T, k killed, wantCode int) *report.Bench {
	t.Helper()
	clearLog(t)
	_, wait := background(t, "steady", "--concurrency", "4", "--duration", "12s", "--warmup", "0", "--timeout", "5s", "-o", "json")
	underLoad(t, "steady", 100)
	// Cleanups run last in, first out: the nodes are back before deletePod's
	// cleanup waits for the successor.
	deletePodAfter(t, k.namespace, k.selector, func() { cordon(t) })
	o := wait()
	if o.code != wantCode {
		t.Errorf("exit code %d, want %d: %s", o.code, wantCode, o.stderr)
	}
	r := decode(t, o.stdout)
	if r.Interrupted || r.Client.ElapsedSeconds < 12 || r.Client.ElapsedSeconds > 18 || o.took > 60*time.Second {
		t.Errorf("the load took %.1f s, the whole run %s", r.Client.ElapsedSeconds, o.took)
	}
	return r
}

// cordon keeps new pods off all nodes until the end of the test.
func cordon(t *testing.T) {
	t.Helper()
	set := func(ctx context.Context, unschedulable bool) {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes.Items {
			patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, unschedulable)
			if _, err := client.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(t.Context(), true)
	t.Cleanup(func() { set(context.Background(), false) })
}

// unharmed says that nothing happened to the load itself.
func unharmed(t *testing.T, r *report.Bench) {
	t.Helper()
	if r.Client.Failed != 0 || r.Client.Succeeded == 0 || r.Server == nil || !r.Server.Complete {
		t.Errorf("the load suffered: %d ok, %d failed, server %+v", r.Client.Succeeded, r.Client.Failed, r.Server)
	}
}

// onlyMissing says that exactly these parts are named as missing, each with its
// reason.
func onlyMissing(t *testing.T, r *report.Bench, parts ...string) {
	t.Helper()
	var got []string
	for _, m := range r.Missing {
		got = append(got, m.Part)
		if m.Why == "" {
			t.Errorf("%s is missing without a reason", m.Part)
		}
	}
	if !slices.Equal(got, parts) {
		t.Errorf("missing is %+v, want exactly %v", r.Missing, parts)
	}
}

// lostRequests checks the errors of a killed Triton: the requests in flight
// were lost, the others could not connect, and nothing else went wrong.
func lostRequests(t *testing.T, r *report.Bench) {
	t.Helper()
	count := uint64(0)
	for _, e := range r.Client.Errors {
		count += e.Count
		switch {
		case e.First == "":
			t.Errorf("an error has no text: %+v", e)
		case e.Class == "connection lost":
			// The connection's end and the pod's deletion are heard of in either order.
			if e.Count > 4 || !strings.Contains(e.First, "the pod was deleted") && !strings.Contains(e.First, "EOF") {
				t.Errorf("lost with the pod: %+v; 4 were in flight at most", e)
			}
		case e.Class != "connect":
			t.Errorf("an error of another class: %+v", e)
		}
	}
	if r.Client.Succeeded == 0 || r.Client.Failed == 0 || count != r.Client.Failed || r.Client.Errors[len(r.Client.Errors)-1].Class != "connection lost" && r.Client.Errors[0].Class != "connection lost" {
		t.Errorf("%d ok, %d failed, errors %+v", r.Client.Succeeded, r.Client.Failed, r.Client.Errors)
	}
}

func TestTritonIsKilled(t *testing.T) {
	before := readyPod(t, tritonPod.namespace, tritonPod.selector)
	r := killAndReplace(t, tritonPod, func(t *testing.T, _ time.Time) bool {
		underLoad(t, "steady", 20)
		return true
	})
	lostRequests(t, r)
	onlyMissing(t, r)
	if r.Server == nil || r.Server.Complete || len(r.Server.Pods) != 2 || r.Server.OutsideUS != nil {
		t.Fatalf("the server's account is %+v", r.Server)
	}
	old, next := r.Server.Pods[0], r.Server.Pods[1]
	if old.UID != string(before.UID) || old.Requests != 0 || !strings.Contains(old.Problem, "its counters are lost") {
		t.Errorf("the killed pod's account is %+v", old)
	}
	if next.Requests < 20 || next.Requests != r.Server.Requests || !strings.Contains(next.Problem, "became ready during the test") {
		t.Errorf("the successor's account is %+v of %d requests", next, r.Server.Requests)
	}
	if len(r.Target.Pods) != 2 || !r.Target.Pods[0].Loaded || !r.Target.Pods[1].Loaded {
		t.Errorf("the pods are %+v; both were loaded", r.Target.Pods)
	}
	if evidence := strings.Join(r.Verdict.Evidence, " "); strings.Contains(evidence, "outside") {
		t.Errorf("the verdict divides what is not known: %s", evidence)
	}
}

func TestTritonIsKilledForGood(t *testing.T) {
	r := killForGood(t, tritonPod, 3)
	lostRequests(t, r)
	if r.Server == nil || r.Server.Complete || len(r.Server.Pods) != 1 || !strings.Contains(r.Server.Pods[0].Problem, "its counters are lost") {
		t.Errorf("the server's account is %+v", r.Server)
	}
	onlyMissing(t, r)
}

func TestGrafanaIsKilled(t *testing.T) {
	r := killAndReplace(t, grafanaPod, func(t *testing.T, _ time.Time) bool {
		readyPod(t, grafanaPod.namespace, grafanaPod.selector)
		return true
	})
	unharmed(t, r)
	onlyMissing(t, r)
	// Its annotations were in memory: the successor has the whole region.
	if r.Grafana == nil || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "Grafana lost the annotation of the start") }) {
		t.Fatalf("Grafana %+v, notes %v", r.Grafana, r.Notes)
	}
	found := regions(t, r.Grafana.Tags...)
	if len(found) != 1 || found[0].ID != r.Grafana.AnnotationID || found[0].Time != r.StartTime.UnixMilli() || found[0].TimeEnd != r.EndTime.UnixMilli() {
		t.Errorf("Grafana holds %+v; the test ran from %d to %d", found, r.StartTime.UnixMilli(), r.EndTime.UnixMilli())
	}
}

func TestGrafanaIsKilledForGood(t *testing.T) {
	r := killForGood(t, grafanaPod, 0)
	unharmed(t, r)
	onlyMissing(t, r, "Grafana annotation")
	if r.Grafana != nil || r.GPU == nil || r.GPU.Source != "Prometheus (DCGM)" {
		t.Errorf("Grafana %+v, GPU %+v", r.Grafana, r.GPU)
	}
}

func TestPrometheusIsKilled(t *testing.T) {
	r := killAndReplace(t, prometheusPod, func(t *testing.T, since time.Time) bool {
		v, _, _, err := prometheusAPI(t).Query(t.Context(), fmt.Sprintf("min(count_over_time(DCGM_FI_DEV_GPU_UTIL[%ds]))", int(time.Since(since).Seconds())+1), time.Now())
		vector, ok := v.(model.Vector)
		return err == nil && ok && len(vector) == 1 && vector[0].Value >= 4
	})
	unharmed(t, r)
	onlyMissing(t, r)
	if r.Grafana == nil || r.GPU == nil || r.GPU.Source != "Prometheus (DCGM)" || len(r.GPU.Devices) != 1 || r.GPU.Devices[0].Insufficient || r.GPU.Devices[0].Samples < 3 {
		t.Fatalf("Grafana %+v, GPU %+v", r.Grafana, r.GPU)
	}
	// The samples of before are gone with its pod: one gap, and no other.
	gap := fmt.Sprintf("no samples of GPU %s on %s in Prometheus for ", r.GPU.Devices[0].Index, r.GPU.Devices[0].Node)
	if len(r.GPU.Gaps) != 1 || !strings.HasPrefix(r.GPU.Gaps[0], gap) || !strings.HasSuffix(r.GPU.Gaps[0], ", from the start") {
		t.Errorf("the gaps are %q, want one: %s…, from the start", r.GPU.Gaps, gap)
	}
}

func TestPrometheusIsKilledForGood(t *testing.T) {
	r := killForGood(t, prometheusPod, 0)
	unharmed(t, r)
	onlyMissing(t, r, "GPU figures from Prometheus")
	// The plugin's own samples stand in, without a gap.
	if r.Grafana == nil || r.GPU == nil || r.GPU.Source != "sampled from dcgm-exporter" || len(r.GPU.Devices) != 1 || r.GPU.Devices[0].Insufficient || len(r.GPU.Gaps) != 0 {
		t.Errorf("Grafana %+v, GPU %+v", r.Grafana, r.GPU)
	}
}

// TestTritonCrashes: the process dies and the kubelet starts it again in the
// same pod.
func TestTritonCrashes(t *testing.T) {
	before := readyPod(t, tritonPod.namespace, tritonPod.selector)
	restarts := before.Status.ContainerStatuses[0].RestartCount
	clearLog(t)
	cmd, wait := background(t, "steady", "--concurrency", "4", "--duration", "10m", "--warmup", "0", "--timeout", "5s", "-o", "json")
	underLoad(t, "steady", 40)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://sim/crash", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := tritonControl(t).Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("the crashed process answered %s", resp.Status)
	}
	eventually(t, time.Minute, "the restart", func() bool {
		pod, err := client.CoreV1().Pods(before.Namespace).Get(t.Context(), before.Name, metav1.GetOptions{})
		return err == nil && pod.Status.ContainerStatuses[0].RestartCount == restarts+1 && pod.Status.ContainerStatuses[0].Ready
	})
	underLoad(t, "steady", 20)
	interrupt(t, cmd)
	o := wait()
	r := decode(t, o.stdout)
	if o.code != 130 || r.Client.Failed == 0 || r.Client.Succeeded < 40 {
		t.Errorf("exit code %d, %d ok, %d failed", o.code, r.Client.Succeeded, r.Client.Failed)
	}
	for _, e := range r.Client.Errors {
		if e.First == "" || e.Class != "connection lost" && e.Class != "connect" && e.Class != "http 503" {
			t.Errorf("an error is %+v", e)
		}
	}
	if r.Server == nil || r.Server.Complete || len(r.Server.Pods) != 1 || r.Server.Pods[0].UID != string(before.UID) || !strings.Contains(r.Server.Pods[0].Problem, "restarted at 0") {
		t.Errorf("the server's account is %+v", r.Server)
	}
	onlyMissing(t, r)
}

// TestInterrupt: Ctrl-C stops the load, prints the report of what there is and
// exits with 130; the annotation's region is closed.
func TestInterrupt(t *testing.T) {
	clearLog(t)
	cmd, wait := background(t, "steady", "--concurrency", "4", "--duration", "10m", "--warmup", "0", "-o", "json")
	underLoad(t, "steady", 20)
	interrupt(t, cmd)
	o := wait()
	if o.code != 130 {
		t.Errorf("exit code %d, want 130", o.code)
	}
	r := decode(t, o.stdout)
	if !r.Interrupted || r.Client.Succeeded+r.Client.Canceled == 0 || r.Client.Failed != 0 || r.Grafana == nil {
		t.Errorf("interrupted %v, %d ok, %d failed, Grafana %+v, missing %+v", r.Interrupted, r.Client.Succeeded, r.Client.Failed, r.Grafana, r.Missing)
	}
}
