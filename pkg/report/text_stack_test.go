package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
)

// stackSample is what a command says of a stack.
func stackSample(command string, change func(*Stack)) *Stack {
	s := &Stack{Schema: StackSchema, ToolVersion: "v0.2.0", Time: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Command: command,
		Context: "prod", Namespace: "monitoring", Healthy: true,
		Components: []StackComponent{
			{Name: "CRDs", Action: "unchanged", Note: "prometheus-operator v0.93.1"},
			{Name: "kube-prometheus-stack", Action: "unchanged", Note: "kube-prometheus-stack 88.5.3 as prom-operator", Release: &StackRelease{Name: "prom-operator"}},
			{Name: "dcgm-exporter", Action: "unchanged", Note: "dcgm-exporter 4.8.2 as dcgm-exporter"},
			{Name: "monitors", Action: "unchanged", Note: "1 object"},
			{Name: "rules and alerts", Action: "unchanged", Note: "2 objects"},
			{Name: "dashboards", Action: "unchanged", Note: "3 objects"},
		}}
	change(s)
	return s
}

const longReason = "Deployment prom-operator-grafana 0 of 1 ready: pod prom-operator-grafana-7c9d6f5b4-abcde: container grafana is in ImagePullBackOff: Back-off pulling image \"registry.example.com/team/grafana:13.2.0\""

func stackSamples() map[string]*Stack {
	ok := func(name, detail string) StackCheck { return StackCheck{Name: name, State: CheckOK, Detail: detail} }
	return map[string]*Stack{
		"up-healthy": stackSample("up", func(s *Stack) {
			s.Changed, s.TookSeconds = true, 41.2
			s.Checks = []StackCheck{ok("workloads", "7 of 7 ready"), ok("Prometheus", "monitoring/prom-operator-kube-prometh-prometheus is available and answers"), ok("Triton targets", "2 of 2 up"), ok("dashboards", "3 of 3 loaded")}
			s.Notes = []string{"dcgm-exporter's nodes: those with the label nvidia.com/gpu.present=true, which GPU Feature Discovery gave them, whatever their taints"}
			s.Next = []string{"kubectl triton observe open     # Grafana, at the dashboards", "kubectl triton bench            # a load test, marked there"}
		}),
		"up-pending": stackSample("up", func(s *Stack) {
			s.Changed, s.Healthy = true, false
			s.Components[1].Action = "change"
			s.Components[1].Workloads = []StackWorkload{{Kind: "Deployment", Name: "prom-operator-grafana", Desired: 1, Reason: "pod prom-operator-grafana-7c9d6f5b4-abcde: container grafana is in ImagePullBackOff: Back-off pulling image"}, {Kind: "Deployment", Name: "fine", Desired: 1, Ready: 1, Done: true}}
			s.Checks = []StackCheck{
				{Name: "workloads", State: CheckPending, Detail: "6 of 7 ready; " + longReason, Fix: "kubectl -n monitoring get pods; kubectl -n monitoring describe pod …"},
				{Name: "Prometheus", State: CheckFailed, Detail: "not Available", Fix: "kubectl -n monitoring describe prometheus prom-operator-kube-prometh-prometheus"},
				{Name: "Grafana", State: CheckUnknown, Detail: "could not be asked"},
				{Name: "Triton metrics", State: CheckSkipped, Detail: "no Triton was found in the cluster", Fix: "kubectl triton observe up"},
			}
		}),
		"plan": stackSample("plan", func(s *Stack) {
			s.Changed = true
			s.Components = append([]StackComponent{{Name: "namespace", Action: "create", Note: "monitoring"}}, s.Components...)
			s.Components[3].Action = "create"
			s.Components[3].Objects = []StackObject{
				{Kind: "DaemonSet", Namespace: "monitoring", Name: "dcgm-exporter", Action: "create"},
				{Kind: "ClusterRole", Name: "dcgm-exporter", Action: "change", Note: "an immutable field would change, which the API server refuses: the object has to be deleted first"},
				{Kind: "Service", Namespace: "monitoring", Name: "dcgm-exporter", Action: "unchanged"},
				{Kind: "Service", Namespace: "monitoring", Name: "old", Action: "delete", Note: "no longer wanted"},
			}
		}),
		"plan-diff": stackSample("plan", func(s *Stack) {
			s.Changed = true
			s.Components[3].Action = "change"
			s.Components[3].Objects = []StackObject{{Kind: "PodMonitor", Namespace: "monitoring", Name: "triton.triton-infer", Action: "change",
				Diff: "--- PodMonitor monitoring/triton.triton-infer (cluster)\n+++ PodMonitor monitoring/triton.triton-infer (after)\n@@ -1,3 +1,3 @@\n spec:\n-  interval: 30s\n+  interval: 2s\n"}}
		}),
		"status": stackSample("status", func(s *Stack) {
			s.Healthy = false
			s.Checks = []StackCheck{ok("workloads", "7 of 7 ready"),
				{Name: "drift", State: CheckFailed, Detail: "Service monitoring/dcgm-exporter would be created; PodMonitor monitoring/triton.triton-infer would be changed", Fix: "kubectl triton observe up --diff"},
				{Name: "GPU nodes", State: CheckFailed, Detail: "3 of 4 covered by monitoring/dcgm-exporter", Fix: "kubectl triton nodes"},
				ok("storage", "kept for 10d; 12,345 series, 1.21 GiB on disk; lost with the pod (no volume)")}
			s.Next = []string{"kubectl triton observe up       # mends what it can"}
		}),
		"plan-down": stackSample("plan", func(s *Stack) {
			s.Changed = true
			s.Components = []StackComponent{
				{Name: "kube-prometheus-stack", Action: "delete", Note: "release prom-operator"},
				{Name: "what Helm leaves", Action: "keep", Note: "others may use it; --purge deletes it", Objects: []StackObject{
					{Kind: "CustomResourceDefinition", Name: "servicemonitors.monitoring.coreos.com", Action: "keep", Note: "nobody else has objects of it"}}},
			}
		}),
		"plan-down-nothing": stackSample("plan", func(s *Stack) { s.Components = nil }),
		"down": stackSample("down", func(s *Stack) {
			s.Changed = true
			s.Components = []StackComponent{
				{Name: "kube-prometheus-stack", Action: "delete", Note: "release prom-operator"},
				{Name: "objects", Action: "delete", Note: "monitors, rules and dashboards", Objects: []StackObject{{Kind: "ConfigMap", Namespace: "monitoring", Name: "triton-triton-latency", Action: "delete"}}},
				{Name: "what Helm leaves", Action: "keep", Note: "others may use it; --purge deletes it", Objects: []StackObject{
					{Kind: "CustomResourceDefinition", Name: "servicemonitors.monitoring.coreos.com", Action: "keep", Note: "3 objects of others in 2 namespaces would be deleted with it"},
					{Kind: "PersistentVolumeClaim", Namespace: "monitoring", Name: "prometheus-prom-operator-kube-prometh-prometheus-db-prometheus-0", Action: "keep", Note: "50Gi of recorded metrics or silences"}}},
			}
			s.Notes = []string{"namespace monitoring stays: ConfigMap theirs is in it"}
		}),
	}
}

func TestStackText(t *testing.T) {
	for name, s := range stackSamples() {
		t.Run(name, func(t *testing.T) {
			var plain bytes.Buffer
			if err := StackText(&plain, lipgloss.NewRenderer(&plain), s, false); err != nil {
				t.Fatal(err)
			}
			golden(t, "stack-"+name+".txt", plain.Bytes())
			for line := range strings.Lines(plain.String()) {
				line = strings.TrimSuffix(line, "\n")
				// A name, an address or a command may be longer than the line; nothing else.
				if lipgloss.Width(line) > Width && !strings.HasPrefix(line, "    → kubectl ") && strings.Count(strings.TrimSpace(line), " ") > 2 {
					t.Errorf("a line has %d columns: %s", lipgloss.Width(line), line)
				}
				if strings.Contains(line, "\x1b") || strings.TrimRight(line, " ") != line {
					t.Errorf("on a pipe: %q", line)
				}
			}
			var colour bytes.Buffer
			r := lipgloss.NewRenderer(&colour, termenv.WithUnsafe())
			r.SetColorProfile(termenv.ANSI256)
			r.SetHasDarkBackground(true)
			if err := StackText(&colour, r, s, false); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(colour.String(), "\x1b[") {
				t.Error("no colour on a terminal")
			}
			if got := stripped(colour.String()); got != plain.String() {
				t.Errorf("in colour it says something else:\n%s\nplain:\n%s", got, plain.String())
			}
		})
	}
}

// stripped is text without the terminal's escape sequences.
func stripped(text string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, text, _ = strings.Cut(after, "m")
	}
}

func TestStackTextWide(t *testing.T) {
	var narrow, wide bytes.Buffer
	s := stackSample("status", func(s *Stack) {
		s.Components[2].Objects = []StackObject{{Kind: "Service", Namespace: "monitoring", Name: "dcgm-exporter", Action: "unchanged"}}
		s.Components[2].Workloads = []StackWorkload{{Kind: "DaemonSet", Name: "dcgm-exporter", Desired: 4, Ready: 4, Done: true}}
	})
	if err := StackText(&narrow, lipgloss.NewRenderer(&narrow), s, false); err != nil {
		t.Fatal(err)
	}
	if err := StackText(&wide, lipgloss.NewRenderer(&wide), s, true); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Service monitoring/dcgm-exporter", "DaemonSet dcgm-exporter 4 of 4 ready"} {
		if strings.Contains(narrow.String(), part) || !strings.Contains(wide.String(), part) {
			t.Errorf("%q belongs into the wide form only", part)
		}
	}
}
