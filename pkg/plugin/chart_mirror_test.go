package plugin

import "testing"

func TestChartMirror(t *testing.T) {
	t.Setenv(chartRepoVariable, "")
	if got := chartMirror(""); got != "" {
		t.Errorf("without anything: %q", got)
	}
	t.Setenv(chartRepoVariable, "https://charts.example.com")
	if got := chartMirror(""); got != "https://charts.example.com" {
		t.Errorf("of the site: %q", got)
	}
	if got := chartMirror("oci://registry.example.com/charts"); got != "oci://registry.example.com/charts" {
		t.Errorf("of the flag: %q", got)
	}
}
