//go:build benchmark

package benchmark

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	installRounds  = 5
	installTimeout = "3m"
	chartDir       = binDir + "/charts"
)

// TestInstallation compares "observe up" with what people do by hand: both
// charts with helm, one after the other, with the same values. helm waits for
// the workloads of the charts; "observe up" for these, for the Prometheus that
// the operator makes, and for the proof that everything is scraped.
func TestInstallation(t *testing.T) {
	config := startSandbox(t)
	values := chartValues(t, config)
	ways := []struct {
		name string
		run  func() time.Duration
	}{
		{"helm upgrade --install --wait, twice", func() time.Duration {
			begin := time.Now()
			for i, chart := range charts(t) {
				config.must(t, "helm", "upgrade", "--install", chart.release, chart.file, "--namespace", "monitoring", "--create-namespace", "--values", values[i], "--wait", "--timeout", installTimeout)
			}
			return time.Since(begin)
		}},
		{"kubectl triton observe up, proved", func() time.Duration {
			begin := time.Now()
			config.must(t, "kubectl-triton", "observe", "up", "--chart-dir", chartDir, "--timeout", installTimeout)
			return time.Since(begin)
		}},
		{"kubectl triton observe up --wait=false", func() time.Duration {
			begin := time.Now()
			config.must(t, "kubectl-triton", "observe", "up", "--chart-dir", chartDir, "--wait=false")
			return time.Since(begin)
		}},
	}
	took := make([][]time.Duration, len(ways))
	for range installRounds {
		for i, way := range ways {
			took[i] = append(took[i], way.run())
			wipe(t, config)
		}
	}
	var rows []string
	base := middle(took[0])
	for i, way := range ways {
		m := middle(took[i])
		rows = append(rows, fmt.Sprintf("| %s | %.1f | %.2f | %.1f–%.1f |", way.name, m.Seconds(), m.Seconds()/base.Seconds(), slices.Min(took[i]).Seconds(), slices.Max(took[i]).Seconds()))
	}
	writeSection(t, "Installing the observability stack", `From nothing to a running stack on a sandbox of three nodes, with the sandbox's own
charts and the same values for both, medians of `+fmt.Sprint(installRounds)+` interleaved rounds. helm waits for
the charts' workloads. "Proved" waits for these too, and for Prometheus, which helm
doesn't know of, and until it has series of Triton and of each GPU exporter.

| | seconds | ratio | min–max |
|---|---|---|---|
`+strings.Join(rows, "\n")+"\n")
}

type chart struct{ release, file string }

func charts(t *testing.T) []chart {
	t.Helper()
	var all []chart
	for _, c := range []chart{{"prom-operator", "kube-prometheus-stack-*.tgz"}, {"dcgm-exporter", "dcgm-exporter-*.tgz"}} {
		files, err := filepath.Glob(filepath.Join(chartDir, c.file))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %v %v", c.file, files, err)
		}
		all = append(all, chart{c.release, files[0]})
	}
	return all
}

// chartValues writes the values that "observe up" would use, a file per chart.
func chartValues(t *testing.T, config sandboxConfig) []string {
	t.Helper()
	text := config.must(t, "kubectl-triton", "observe", "render", "-o", "values", "--chart-dir", chartDir)
	var files []string
	for document := range strings.SplitSeq(strings.TrimPrefix(text, "---\n"), "\n---\n") {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) != 2 {
		t.Fatalf("%d documents of values, want one per chart:\n%s", len(files), text)
	}
	return files
}

// wipe takes everything away again, whoever made it.
func wipe(t *testing.T, config sandboxConfig) {
	t.Helper()
	config.must(t, "kubectl-triton", "observe", "down", "--timeout", installTimeout)
	for _, c := range charts(t) {
		config.must(t, "helm", "uninstall", c.release, "--namespace", "monitoring", "--ignore-not-found", "--wait")
	}
	config.must(t, "kubectl", "-n", "monitoring", "delete", "statefulset", "--all")
	// The garbage collector finds no owner any more once its kind is gone.
	config.must(t, "kubectl", "-n", "monitoring", "wait", "--for=delete", "pod", "--all", "--timeout", installTimeout)
	config.must(t, "kubectl", "delete", "crd", "--all", "--wait")
	config.must(t, "kubectl", "-n", "kube-system", "delete", "service", "--selector", "app.kubernetes.io/managed-by=prometheus-operator")
}

// must runs a built program that has to succeed and returns its output.
func (c sandboxConfig) must(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(binDir, program), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.file, "HOME="+t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if exit, ok := err.(*exec.ExitError); ok {
			stderr = exit.Stderr
		}
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, stderr)
	}
	return string(out)
}

func middle(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
