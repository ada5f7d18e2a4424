package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/charmbracelet/lipgloss"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// savingGrafana keeps dashboards and folders; those in provisioned can't be
// saved.
type savingGrafana struct {
	t           *testing.T
	mu          sync.Mutex
	dashboards  map[string]map[string]any
	folderOf    map[string]string
	provisioned map[string]bool
	folders     []map[string]string
	saves       int
}

func (g *savingGrafana) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer := func(status int, v any) {
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(v); err != nil {
			g.t.Error(err)
		}
	}
	uid := strings.TrimPrefix(r.URL.Path, "/api/dashboards/uid/")
	switch {
	case r.URL.Path == "/api/search":
		hits := []map[string]any{}
		for uid, d := range g.dashboards {
			hits = append(hits, map[string]any{"uid": uid, "title": d["title"]})
		}
		answer(200, hits)
	case r.URL.Path == "/api/folders" && r.Method == http.MethodGet:
		answer(200, g.folders)
	case r.URL.Path == "/api/folders":
		var f map[string]string
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			g.t.Error(err)
		}
		f["uid"] = fmt.Sprintf("folder-%d", len(g.folders))
		g.folders = append(g.folders, f)
		answer(200, f)
	case r.URL.Path == "/api/dashboards/db":
		var sent struct {
			Dashboard map[string]any
			FolderUID string
		}
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			g.t.Error(err)
		}
		uid := sent.Dashboard["uid"].(string)
		g.saves++
		if uid == "refused" {
			answer(403, map[string]string{"message": "no permission"})
			return
		}
		sent.Dashboard["id"], sent.Dashboard["version"] = g.saves, 1
		g.dashboards[uid], g.folderOf[uid] = sent.Dashboard, sent.FolderUID
		answer(200, map[string]any{"uid": uid, "version": 1})
	case g.dashboards[uid] != nil:
		answer(200, map[string]any{"dashboard": g.dashboards[uid], "meta": map[string]any{"folderTitle": "T", "folderUid": g.folderOf[uid], "provisioned": g.provisioned[uid]}})
	default:
		answer(404, map[string]string{"message": "Dashboard not found"})
	}
}

type dashboardsRun struct {
	stdout, stderr string
	code           int
}

func TestDashboardsCommands(t *testing.T) {
	g := &savingGrafana{t: t, dashboards: map[string]map[string]any{}, folderOf: map[string]string{}, provisioned: map[string]bool{}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	token := write("token", []byte("secret-token\n"))
	run := func(args ...string) dashboardsRun {
		var out, errOut bytes.Buffer
		args = append([]string{"dashboards"}, args...)
		if args[1] != "lint" {
			args = append(args, "--grafana-url", server.URL, "--grafana-token-file", token)
		}
		code := Execute(t.Context(), genericiooptions.IOStreams{Out: &out, ErrOut: &errOut}, args)
		if strings.Contains(out.String()+errOut.String(), "secret-token") {
			t.Errorf("%v shows the token", args)
		}
		return dashboardsRun{out.String(), errOut.String(), code}
	}
	expect := func(r dashboardsRun, code int, says ...string) {
		t.Helper()
		if r.code != code {
			t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.stdout, r.stderr)
		}
		for _, s := range says {
			if !strings.Contains(r.stdout+r.stderr, s) {
				t.Errorf("does not say %q:\n%s%s", s, r.stdout, r.stderr)
			}
		}
	}
	gpu := assets.Dashboards()[0]
	file := write(gpu.File, gpu.JSON)

	expect(run("list"), 0, "missing")
	expect(run("import", file, "--folder", "Drafts"), 0, "created")
	if g.dashboards["gpu-dashboard"]["editable"] != true || g.folderOf["gpu-dashboard"] != "folder-0" || len(g.folders) != 1 {
		t.Errorf("stored as %v in %q of %v", g.dashboards["gpu-dashboard"]["editable"], g.folderOf["gpu-dashboard"], g.folders)
	}
	expect(run("list"), 0, "current")
	expect(run("import", file), 1, "--overwrite")
	// Without a file it is what the plugin ships.
	expect(run("import"), 1, gpu.File+" is not imported", "--overwrite")
	if len(g.dashboards) != 1 {
		t.Errorf("a refused import stored %d dashboards", len(g.dashboards)-1)
	}
	expect(run("import", "--overwrite"), 0, "created", "updated")
	if len(g.dashboards) != len(assets.Dashboards()) {
		t.Errorf("%d dashboards are stored of the %d that are shipped", len(g.dashboards), len(assets.Dashboards()))
	}
	expect(run("import", file, "--overwrite"), 0, "updated")
	if g.folderOf["gpu-dashboard"] != "folder-0" {
		t.Errorf("moved to folder %q", g.folderOf["gpu-dashboard"])
	}
	if r := run("export", "gpu-dashboard"); r.code != 0 || r.stdout != string(gpu.JSON) {
		t.Errorf("the export differs from what was imported (%d)\n%s", r.code, r.stderr)
	}

	// A provisioned one stops the import before anything is stored.
	g.provisioned["gpu-dashboard"] = true
	saves := g.saves
	other := write("other.json", []byte(`{"title": "Other", "uid": "other", "panels": []}`))
	expect(run("import", other, file, "--overwrite"), 1, "provisions", "ConfigMap", "another uid")
	if g.saves != saves {
		t.Error("something was stored all the same")
	}
	// Grafana refuses the second: the first is reported, with the reason.
	refused := write("refused.json", []byte(`{"title": "R", "uid": "refused", "panels": []}`))
	expect(run("import", other, refused), 1, "other.json", "created", "refused.json", "403")

	expect(run("export", "absent"), 1, "absent", "dashboards list")
	expect(run("export", "gpu-dashboard", "-f", filepath.Join(dir, "no", "such", "folder.json")), 1, "could not write")
	expect(run("lint", file), 0, "no findings (1 file)")
	expect(run("lint", other, "-o", "json"), 1, `"schema": "kubectl-triton/dashboards-lint/v1"`, "template-datasource-rule")
	expect(run("list", "-o", "nonsense"), 2, "table or json or yaml")
	server.Close()
	expect(run("list"), 1, "unknown", "connection refused")
}

// TestDashboardTableFits: where uids and titles are long, titles give way.
func TestDashboardTableFits(t *testing.T) {
	var out bytes.Buffer
	if err := printDashboards(&out, []listedDashboard{
		{UID: "gpu-dashboard", Title: "GPUs", Folder: "Triton", State: dashboardCurrent},
		{UID: "sandbox-k8s-resources-cluster", Title: "Kubernetes / Compute Resources / Cluster", Folder: "General", Provisioned: true, State: dashboardOther},
	}); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if w := lipgloss.Width(line); w > report.Width {
			t.Errorf("%d columns: %q", w, line)
		}
	}
	if !strings.Contains(out.String(), "sandbox-k8s-resources-cluster  Kubernetes / C") {
		t.Errorf("a uid or a title is lost:\n%s", out.String())
	}
}
