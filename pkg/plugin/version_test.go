package plugin

import (
	"bytes"
	"runtime/debug"
	"testing"
)

// TestVersionFallBack: what the linker was not told comes from the build info,
// and what it was told is kept.
func TestVersionFallBack(t *testing.T) {
	info := &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}},
		Deps:     []*debug.Module{{Path: "helm.sh/helm/v3", Version: "v3.22.0"}},
	}
	for _, c := range []struct {
		given pluginVersion
		info  *debug.BuildInfo
		want  pluginVersion
	}{
		{pluginVersion{}, info, pluginVersion{Version: "v1.2.3", Commit: "abc", Date: "2026-01-02T03:04:05Z", Helm: "v3.22.0"}},
		{pluginVersion{Version: "v9.0.0", Commit: "fed", Date: "2025-01-01T00:00:00Z"}, info, pluginVersion{Version: "v9.0.0", Commit: "fed", Date: "2025-01-01T00:00:00Z", Helm: "v3.22.0"}},
		{pluginVersion{}, &debug.BuildInfo{}, pluginVersion{Version: "(devel)"}},
	} {
		if c.given.complete(c.info); c.given != c.want {
			t.Errorf("%+v, want %+v", c.given, c.want)
		}
	}
}

func TestVersionText(t *testing.T) {
	r := &versionReport{
		Plugin: pluginVersion{Version: "v1.2.3", Commit: "abc", Date: "2026-01-02T03:04:05Z", Go: "go1.26.8", Helm: "v3.22.0", Platform: "linux/amd64"},
		Server: &serverVersion{Version: "v1.37.2", Address: "https://api"},
		Triton: &tritonVersion{Namespace: "triton", Service: "triton-infer", Versions: []string{"2.69.0", "2.70.0"}, Pods: 3},
	}
	const want = `plugin      kubectl-triton v1.2.3 (linux/amd64)
commit      abc 2026-01-02T03:04:05Z
built with  go1.26.8, Helm v3.22.0
Kubernetes  v1.37.2 at https://api
Triton      2.69.0 and 2.70.0 on 3 pods behind triton/triton-infer
`
	var b bytes.Buffer
	if err := r.write(&b); err != nil || b.String() != want {
		t.Errorf("%v\n%s", err, b.String())
	}
}
