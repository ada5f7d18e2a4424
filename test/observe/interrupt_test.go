//go:build e2e

package observe

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// moments are those at which an installation is cut short: while CRDs are made,
// while Helm is at work, and while the pods are being waited for.
var moments = []string{"… CRDs: create", "… kube-prometheus-stack: create", "… workloads:"}

// TestInterrupted: Ctrl-C ends an installation soon, and the next "up" goes on
// from there.
func TestInterrupted(t *testing.T) {
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) {
			cleanUp(t)
			if moment == moments[0] {
				withoutCRDs(t)
			}
			run := sandbox.Start(t, "kubectl-triton", upArgs("--profile", "lite")...)
			if !run.AwaitLine(t, time.Minute, moment) {
				t.Fatal("it ended before")
			}
			run.Signal(syscall.SIGINT)
			o := run.Wait(t, 30*time.Second)
			says(t, o, 130)
			if moment != moments[2] {
				says(t, o, 130, "interrupted", "kubectl triton observe up", "observe down")
			}
			healthyAfter(t, "--profile", "lite")
		})
	}
}

// TestKilled: after kill -9 the lock is free within 15 seconds, and the next
// "up" goes on from there by itself.
func TestKilled(t *testing.T) {
	for _, moment := range moments[:2] {
		t.Run(moment, func(t *testing.T) {
			cleanUp(t)
			if moment == moments[0] {
				withoutCRDs(t)
			}
			run := sandbox.Start(t, "kubectl-triton", upArgs("--profile", "lite")...)
			if !run.AwaitLine(t, time.Minute, moment) {
				t.Fatal("it ended before")
			}
			if moment == moments[1] {
				harness.Eventually(t, time.Minute, "a pending release", func() bool {
					return strings.HasPrefix(helmRelease(t, "prom-operator", "monitoring").Status, "pending-")
				})
			}
			run.Signal(syscall.SIGKILL)
			run.Wait(t, 10*time.Second)
			begin := time.Now()
			var o harness.Outcome
			harness.Eventually(t, time.Minute, "an up that goes on", func() bool {
				if o = up(t, "--profile", "lite"); o.Code == 0 {
					return true
				}
				if !strings.Contains(o.Stderr, "is changing the stack since") {
					t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
				}
				return false
			})
			says(t, o, 0, "an earlier run was killed; going on from there")
			t.Logf("recovered after %s", time.Since(begin))
			status(t, 0)
		})
	}
}

// TestPendingRelease: a release that plain helm left in the middle is not taken
// over unasked.
func TestPendingRelease(t *testing.T) {
	cleanUp(t)
	mustUp(t, "--profile", "lite")
	upgrade := sandbox.Start(t, "helm", "upgrade", "prom-operator", "kube-prometheus-stack", "--repo", charts, "--namespace", "monitoring",
		"--reuse-values", "--set", "grafana.image.registry=registry.invalid", "--wait", "--timeout", "5m")
	harness.Eventually(t, time.Minute, "a pending release", func() bool {
		return helmRelease(t, "prom-operator", "monitoring").Status == "pending-upgrade"
	})
	upgrade.Signal(syscall.SIGKILL)
	upgrade.Wait(t, 10*time.Second)
	before := helmRelease(t, "prom-operator", "monitoring")
	says(t, up(t, "--profile", "lite"), 1, "prom-operator", "pending-upgrade", "--recover", "helm -n monitoring history prom-operator")
	if now := helmRelease(t, "prom-operator", "monitoring"); now != before {
		t.Errorf("the release was %+v and is %+v", before, now)
	}
	if s := status(t, 1); component(t, s, "kube-prometheus-stack").Release.Status != "pending-upgrade" {
		t.Errorf("status: %+v", s.Components)
	}
	healthyAfter(t, "--profile", "lite", "--recover")
	if now := helmRelease(t, "prom-operator", "monitoring"); now.Status != "deployed" {
		t.Errorf("the recovered release is %+v", now)
	}
}
