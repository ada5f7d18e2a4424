package node

import "testing"

func TestPullable(t *testing.T) {
	for image, want := range map[string]bool{
		"nowhere.invalid/team/app:1":       false,
		"nowhere.invalid:5000/app@sha256:": false,
		"quay.io/prometheus/prometheus:v3": true,
		"invalid/app":                      true,
		"grafana":                          true,
	} {
		if got := pullable(image); got != want {
			t.Errorf("pullable(%q) = %v, want %v", image, got, want)
		}
	}
}
