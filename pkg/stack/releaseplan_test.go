package stack

import (
	"errors"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	oldManifest = `---
# Source: a
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: gone}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, annotations: {helm.sh/resource-policy: keep}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader, namespace: monitoring}
`
	newManifest = `
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 80}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader, namespace: monitoring}
`
)

// planned is a plan for a release in Helm's records.
func planned(t *testing.T, own bool, version string, status release.Status, was, becomes string) (*Releases, *ReleasePlan) {
	t.Helper()
	w := newWorld(t, nil)
	w.record(t, own, "prom-operator", "monitoring", "kube-prometheus-stack", version, status, nil, was)
	releases := w.records("monitoring")
	rel, err := releases.Get(t.Context(), "prom-operator")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := w.decode(becomes, "monitoring")
	if err != nil {
		t.Fatal(err)
	}
	c := PrometheusStackChart()
	return releases, &ReleasePlan{Name: "prom-operator", Release: rel, rendering: &rendering{objects: objects},
		Package: &Package{Chart: c, chart: &chart.Chart{Metadata: &chart.Metadata{Name: c.Name, Version: c.Version}}}}
}

func TestJudgeRelease(t *testing.T) {
	version := PrometheusStackChart().Version
	there := &unstructured.Unstructured{}
	for name, test := range map[string]struct {
		own         bool
		version     string
		status      release.Status
		was, become string
		changes     []Change
		verb        Verb
		why         string
	}{
		"as it should be":      {true, version, release.StatusDeployed, newManifest, newManifest, nil, Unchanged, ""},
		"in another order":     {true, version, release.StatusDeployed, newManifest, strings.Join([]string{strings.Split(newManifest, "---")[1], strings.Split(newManifest, "---")[0]}, "\n---\n"), nil, Unchanged, ""},
		"taken over":           {false, version, release.StatusDeployed, newManifest, newManifest, nil, Update, "it is taken over"},
		"failed":               {true, version, release.StatusFailed, newManifest, newManifest, nil, Update, "its last operation ended as failed"},
		"killed":               {true, version, release.StatusPendingUpgrade, newManifest, newManifest, nil, Update, "its last operation ended as pending-upgrade"},
		"an older chart":       {true, "80.0.0", release.StatusDeployed, newManifest, newManifest, nil, Update, "chart kube-prometheus-stack 80.0.0 becomes " + version},
		"fewer objects":        {true, version, release.StatusDeployed, oldManifest, newManifest, nil, Update, "its values or templates differ"},
		"another value":        {true, version, release.StatusDeployed, newManifest, strings.Replace(newManifest, "80", "81", 1), nil, Update, "its values or templates differ"},
		"edited by hand":       {true, version, release.StatusDeployed, newManifest, newManifest, []Change{{Verb: Unchanged}, {Ref: Ref{Kind: "Service", Namespace: "monitoring", Name: "a"}, Verb: Update, Before: there}}, Update, "Service monitoring/a differs from what Helm made"},
		"an object deleted":    {true, version, release.StatusDeployed, newManifest, newManifest, []Change{{Ref: Ref{Kind: "Service", Namespace: "monitoring", Name: "a"}, Verb: Create}}, Update, "Service monitoring/a differs from what Helm made"},
		"one not to be judged": {true, version, release.StatusDeployed, newManifest, newManifest, []Change{{Verb: Unknown}, {Verb: Keep}}, Unchanged, ""},
	} {
		t.Run(name, func(t *testing.T) {
			releases, plan := planned(t, test.own, test.version, test.status, test.was, test.become)
			plan.Changes = test.changes
			if verb, why := releases.judge(plan); verb != test.verb || why != test.why {
				t.Errorf("got %s, %q; want %s, %q", verb, why, test.verb, test.why)
			}
		})
	}
}

func TestObsolete(t *testing.T) {
	releases, plan := planned(t, true, "88.5.3", release.StatusDeployed, oldManifest, newManifest)
	gone, err := releases.obsolete(plan)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range gone {
		got = append(got, string(c.Verb)+" "+c.String())
	}
	if want := "delete Service monitoring/gone, keep PersistentVolumeClaim monitoring/data"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	releases, plan = planned(t, true, "88.5.3", release.StatusDeployed, "a: [", newManifest)
	if _, err := releases.obsolete(plan); err == nil || !strings.Contains(err.Error(), "the record of the Helm release prom-operator can't be read") {
		t.Errorf("a broken record gives %v", err)
	}
}

// TestApplyRefusesPending: what another process has begun is not overwritten
// unless its end is known.
func TestApplyRefusesPending(t *testing.T) {
	releases, plan := planned(t, true, "88.5.3", release.StatusPendingInstall, newManifest, newManifest)
	plan.Verb = Update
	_, err := releases.Apply(t.Context(), plan)
	var pending *PendingError
	if !errors.As(err, &pending) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"prom-operator", "monitoring", "pending-install", "--recover", "helm -n monitoring history prom-operator"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
	if err := releases.recover(plan.Release); err != nil {
		t.Fatal(err)
	}
	after, err := releases.Get(t.Context(), "prom-operator")
	if err != nil || after.Pending() || after.Status != "failed" || after.Description != "was pending-install when its process ended" {
		t.Errorf("taken over: %+v, %v", after, err)
	}
}

func TestTakeOver(t *testing.T) {
	for _, test := range []struct{ own, dead, want bool }{{true, true, true}, {true, false, false}, {false, true, false}} {
		p := &Plan{Stack: Component{Release: &ReleasePlan{Release: &Release{Own: test.own}}}}
		p.TakeOver(test.dead)
		if p.Stack.Release.Recover != test.want {
			t.Errorf("own %v, dead %v: recover is %v", test.own, test.dead, p.Stack.Release.Recover)
		}
	}
}

func TestGetOfNoRelease(t *testing.T) {
	w := newWorld(t, nil)
	releases := w.records("monitoring")
	if rel, err := releases.Get(t.Context(), "none"); rel != nil || err != nil {
		t.Errorf("got %v, %v", rel, err)
	}
}

// TestReleaseOfHalfARecord: a record that somebody cut short is neither well nor
// under way, and ends nothing.
func TestReleaseOfHalfARecord(t *testing.T) {
	r := newRelease(&release.Release{Name: "prom-operator", Namespace: "monitoring"})
	if r.Deployed() || r.Pending() || r.Status != "unknown" || len(r.Values()) != 0 || r.keptByGitOps() {
		t.Errorf("got %+v", r)
	}
}
