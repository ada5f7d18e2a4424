package node

import (
	"strings"
	"testing"
)

func TestProgramFor(t *testing.T) {
	tests := []struct{ image, want string }{
		{"nvcr.io/nvidia/tritonserver:26.06-py3", "tritonserver"},
		{"nvcr.io/nvidia/tritonserver@sha256:0123", "tritonserver"},
		{"nvcr.io/nvidia/tritonserver:26.06-py3@sha256:0123", "tritonserver"},
		{"nvcr.io/nvidia/tritonserver", "tritonserver"},
		{"nvcr.io/nvidia/k8s/dcgm-exporter:4.5.2-4.8.2-distroless", "dcgm-exporter"},
		{"registry.example/inference/serving:7", "tritonserver"},
		{"grafana/grafana:13.2.0", "grafana"},
		{"docker.io/grafana/grafana", "grafana"},
		{"quay.io/prometheus/prometheus:v3.16.0", "prometheus"},
		{"localhost:5000/nvidia/tritonserver:1", ""},
		{"tritonserver", ""},
		{"example.com/grafana/grafana", ""},
		{"", ""},
	}
	for _, tt := range tests {
		p, ok := programFor(tt.image)
		if p.name != tt.want || ok != (tt.want != "") {
			t.Errorf("programFor(%q) = %q, %v; want %q", tt.image, p.name, ok, tt.want)
		}
	}
}

func TestCommandArguments(t *testing.T) {
	tests := []struct {
		name          string
		command, args []string
		want, wantErr string
	}{
		{name: "nothing"},
		{name: "flags only", args: []string{"--a", "b"}, want: "--a b"},
		{name: "entrypoint script's form", args: []string{"tritonserver", "--a"}, want: "--a"},
		{name: "own command", command: []string{"/opt/tritonserver/bin/tritonserver", "--a"}, args: []string{"--b"}, want: "--a --b"},
		{name: "other command", command: []string{"sh", "-c", "tritonserver"}, wantErr: `exec: "sh"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := commandArguments(program{name: "tritonserver"}, tt.command, tt.args)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error = %v, want one that contains %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || strings.Join(got, " ") != tt.want {
				t.Errorf("arguments = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
