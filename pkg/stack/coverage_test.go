package stack

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestCovering: why a monitor that selects a target isn't taken, and the command
// that changes it.
func TestCovering(t *testing.T) {
	const podMonitor = "apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nmetadata: {name: m, namespace: triton, labels: {app: x}}\nspec: {selector: {matchLabels: {app: triton-infer}}, podMetricsEndpoints: [{port: PORT}]}"
	all := &metav1.LabelSelector{}
	byTeam := &metav1.LabelSelector{MatchLabels: map[string]string{"release": "kps", "team": "ml"}}
	for name, test := range map[string]struct {
		takes         selection
		port          string
		none          bool
		monitor       string
		problem, mend string
	}{
		"taken":                      {takes: selection{all, all}},
		"selector not set":           {takes: selection{}, problem: "takes no PodMonitors: its podMonitorSelector is not set"},
		"labels":                     {takes: selection{byTeam, all}, problem: "the podMonitorSelector of Prometheus monitoring/k8s asks for release=kps,team=ml, which PodMonitor triton/m does not have", mend: "kubectl label podmonitor --namespace triton m release=kps team=ml --overwrite"},
		"labels that can't be given": {takes: selection{&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpDoesNotExist}}}, all}, problem: "asks for !app"},
		"own namespace only":         {takes: selection{all, nil}, problem: "takes PodMonitors from its own namespace only, and this one is in triton"},
		"labelled namespaces only":   {takes: selection{all, byTeam}, problem: "takes PodMonitors from namespaces with release=kps,team=ml only, and namespace triton is none", mend: "kubectl label namespace triton release=kps team=ml --overwrite"},
		"unreadable selector":        {takes: selection{&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}, all}, problem: "can't be read"},
		"another port":               {takes: selection{all, all}, port: "web", problem: "PodMonitor triton/m asks for port web; the metrics port of the pods of triton/triton-infer is metrics"},
		"other pods":                 {takes: selection{all, all}, none: true, monitor: strings.ReplaceAll(podMonitor, "triton-infer", "web")},
	} {
		t.Run(name, func(t *testing.T) {
			text, port := podMonitor, "metrics"
			if test.monitor != "" {
				text = test.monitor
			}
			if test.port != "" {
				port = test.port
			}
			w := newWorld(t, []runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "triton"}}}, fromYAML(t, strings.ReplaceAll(text, "PORT", port)))
			known, err := w.Monitors(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found := known.Covering(&Prometheus{Namespace: "monitoring", Name: "k8s", selectors: map[string]selection{PodMonitorKind: test.takes}}, triton(func(t *Target) { t.PortName = "metrics" }))
			if test.none != (len(found) == 0) {
				t.Fatalf("found %+v", found)
			}
			if test.none {
				return
			}
			c := found[0]
			if (test.problem == "") != (c.Problem == "") || !strings.Contains(c.Problem, test.problem) || c.Mend != test.mend {
				t.Errorf("problem %q, mend %q; want %q, %q", c.Problem, c.Mend, test.problem, test.mend)
			}
			if c.Pools() != "podMonitor/triton/m/" {
				t.Errorf("its jobs are called %s…", c.Pools())
			}
		})
	}
}
