package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
)

func TestConfigure(t *testing.T) {
	good := map[string]string{"LABEL": "grafana_dashboard", "FOLDER": "/tmp/dashboards"}
	for name, tt := range map[string]struct {
		set     map[string]string
		refused bool
	}{
		"defaults":     {nil, false},
		"no label":     {map[string]string{"LABEL": ""}, true},
		"no folder":    {map[string]string{"FOLDER": ""}, true},
		"a script":     {map[string]string{"SCRIPT": "/x"}, true},
		"bad resource": {map[string]string{"RESOURCE": "pods"}, true},
		"bad method":   {map[string]string{"METHOD": "POLL"}, true},
	} {
		_, err := configure(func(n string) string {
			if v, ok := tt.set[n]; ok {
				return v
			}
			return good[n]
		}, nil)
		if (err != nil) != tt.refused {
			t.Errorf("%s: error %v, refused should be %v", name, err, tt.refused)
		}
	}
}

func TestDirectoryByAnnotation(t *testing.T) {
	c := config{folder: "/local/dashboards", folderAnnotation: "grafana_folder", mounts: podpath.Mounts{{ContainerPath: "/tmp/dashboards", LocalPath: "/local/dashboards"}}}
	for annotation, want := range map[string]string{
		"": "/local/dashboards", "Triton": "/local/dashboards/Triton", "/tmp/dashboards/GPUs": "/local/dashboards/GPUs",
	} {
		if got := c.directory(map[string]string{"grafana_folder": annotation}); got != want {
			t.Errorf("the annotation %q leads to %s, want %s", annotation, got, want)
		}
	}
}

func TestWatchFollowsObjectsAndTells(t *testing.T) {
	requests := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		requests <- r.Method + " " + user + ":" + password
	}))
	defer server.Close()
	client := fake.NewClientset()
	folder := t.TempDir()
	s := &sidecar{
		config: config{
			label: "grafana_dashboard", value: "1", folder: folder, folderAnnotation: "grafana_folder", namespaces: []string{""}, resources: []string{"configmap", "secret"},
			reload: reload{url: server.URL, method: http.MethodPost, user: "admin", password: "secret"},
		},
		client: client, http: http.DefaultClient, log: slog.New(slog.DiscardHandler), files: map[key][]string{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.watch(ctx) }()
	await := func(what string) {
		t.Helper()
		select {
		case got := <-requests:
			if got != "POST admin:secret" {
				t.Fatalf("the request was %q", got)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no request after %s", what)
		}
	}
	exists := func(name string, want bool) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(folder, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", name, err, want)
		}
	}
	labels := map[string]string{"grafana_dashboard": "1"}
	maps := client.CoreV1().ConfigMaps("triton")
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "triton", Labels: labels, Annotations: map[string]string{"grafana_folder": "Triton"}}, Data: map[string]string{"a.json": "{}", "b.json": "{}"}}
	if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await("a ConfigMap came")
	exists("Triton/a.json", true)
	exists("Triton/b.json", true)
	object.Data = map[string]string{"a.json": "{}"}
	object.Annotations = nil
	if _, err := maps.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await("a ConfigMap moved to another folder")
	exists("a.json", true)
	exists("Triton/a.json", false)
	exists("Triton/b.json", false)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "x", Labels: labels}, Data: map[string][]byte{"s.json": []byte("{}")}}
	if _, err := client.CoreV1().Secrets("x").Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await("a Secret came")
	exists("s.json", true)
	if err := maps.Delete(ctx, "d", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await("a ConfigMap went")
	exists("a.json", false)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
