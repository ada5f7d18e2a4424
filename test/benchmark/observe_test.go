//go:build benchmark

package benchmark

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	var proved time.Duration // of the last round of the second way
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
		{"kubectl triton observe up, until all workloads are ready", func() time.Duration {
			begin := time.Now()
			_, progress := config.run(t, "kubectl-triton", "observe", "up", "--chart-dir", chartDir, "--timeout", installTimeout)
			proved = time.Since(begin)
			return readyAfter(t, progress)
		}},
		{"the same run, until everything is proved", func() time.Duration { return proved }},
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
			if i != 1 { // the next one is the rest of the same run
				wipe(t, config)
			}
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
the charts' workloads, "observe up" also for those that the operator makes. "Proved" is
when Prometheus has series of Triton and of each GPU exporter, and Grafana the
dashboards, which helm doesn't know of.

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

// readyAfter reads from the progress when the workloads were ready.
func readyAfter(t *testing.T, progress string) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`\[ *([0-9.]+)s\] ✓ workloads`).FindStringSubmatch(progress)
	if m == nil {
		t.Fatalf("the progress does not tell when the workloads were ready:\n%s", progress)
	}
	seconds, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(seconds * float64(time.Second))
}

// must runs a built program that has to succeed and returns its output.
func (c sandboxConfig) must(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, _ := c.run(t, program, args...)
	return out
}

func (c sandboxConfig) run(t *testing.T, program string, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(binDir, program), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.file, "HOME="+t.TempDir())
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, &out, &errOut)
	}
	return out.String(), errOut.String()
}

func middle(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
