//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	pod := readyPod(t, namespace, selector)
	now := int64(0)
	if err := client.CoreV1().Pods(namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
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
}

// TestKilledInTheMiddle: whatever dies during the test, the run ends on time,
// the report is printed, and what is missing has a name.
func TestKilledInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		name, namespace, selector string
		check                     func(*testing.T, *report.Bench, outcome)
	}{
		{"Triton", "triton", "app=triton-infer", func(t *testing.T, r *report.Bench, o outcome) {
			if r.Client.Failed == 0 || len(r.Client.Errors) == 0 {
				t.Error("no request failed although the pod was killed")
			}
			for _, e := range r.Client.Errors {
				if e.Class == "other" || e.First == "" {
					t.Errorf("an error has no class or no text: %+v", e)
				}
			}
			if r.Server == nil || r.Server.Complete {
				t.Errorf("the lost counters are not named: %+v", r.Server)
			}
			if r.Client.Succeeded == 0 {
				t.Error("nothing succeeded before the pod was killed")
			}
			loaded := 0
			for _, p := range r.Target.Pods {
				if p.Loaded {
					loaded++
				}
			}
			if loaded != 2 {
				t.Errorf("%d pods were loaded; the successor should have been too: %+v", loaded, r.Target.Pods)
			}
		}},
		{"Grafana", "monitoring", "app.kubernetes.io/name=grafana", func(t *testing.T, r *report.Bench, o outcome) {
			if r.Client.Failed != 0 || o.code != 0 {
				t.Errorf("the test suffered: %d failed, exit code %d", r.Client.Failed, o.code)
			}
			// Its annotations are in memory: either it is named as missing, or the
			// successor has the whole region.
			if r.Grafana == nil && !missing(r, "Grafana") {
				t.Errorf("nothing is said of Grafana: %+v", r.Missing)
			}
		}},
		{"Prometheus", "monitoring", "app.kubernetes.io/name=prometheus", func(t *testing.T, r *report.Bench, o outcome) {
			if r.Client.Failed != 0 || o.code != 0 {
				t.Errorf("the test suffered: %d failed, exit code %d", r.Client.Failed, o.code)
			}
			if r.GPU == nil || len(r.GPU.Devices) == 0 {
				t.Fatalf("no GPU figures: %+v", r.Missing)
			}
			if !missing(r, "Prometheus") && len(r.GPU.Gaps) == 0 && !r.GPU.Devices[0].Insufficient {
				t.Errorf("neither a gap nor a missing part is named: %+v, %+v", r.GPU, r.Missing)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearLog(t)
			_, wait := background(t, "steady", "--concurrency", "4", "--duration", "12s", "--warmup", "0", "--timeout", "5s", "-o", "json")
			// About half of what the test will send.
			underLoad(t, "steady", 150)
			deletePod(t, c.namespace, c.selector)
			o := wait()
			if o.stdout == "" {
				t.Fatalf("no report; exit code %d: %s", o.code, o.stderr)
			}
			r := decode(t, o.stdout)
			if r.Client.ElapsedSeconds > 18 || o.took > 60*time.Second {
				t.Errorf("the load took %.1f s, the whole run %s", r.Client.ElapsedSeconds, o.took)
			}
			c.check(t, r, o)
		})
	}
}

func missing(r *report.Bench, part string) bool {
	for _, m := range r.Missing {
		if strings.Contains(m.Part, part) && m.Why != "" {
			return true
		}
	}
	return false
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
