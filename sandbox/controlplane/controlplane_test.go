package controlplane

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestStartServesPodsAndStops(t *testing.T) {
	dir, err := os.MkdirTemp("", "cp") // t.TempDir's path is too long for a Unix socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var steps []string
	started := time.Now()
	c, err := Start(ctx, Config{Dir: dir, Step: func(s string) { steps = append(steps, s); t.Logf("%s: %s", time.Since(started), s) }})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			c.Stop()
		}
	}()
	if len(steps) != 3 {
		t.Errorf("steps = %q, want three", steps)
	}
	config, err := c.ClientConfig(Identity{CommonName: "admin", Organizations: []string{"system:masters"}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}}}
	if _, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Errorf("creating a pod: %v", err)
	}
	other, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Issue(Identity{CommonName: "admin", Organizations: []string{"system:masters"}})
	if err != nil {
		t.Fatal(err)
	}
	config.CertData, config.KeyData = foreign.Certificate, foreign.Key
	stranger, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); err == nil {
		t.Error("a certificate of another authority may list pods")
	}
	address := c.Address
	c.Stop()
	stopped = true
	t.Logf("%s: stopped", time.Since(started))
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("the API server's port still accepts connections after Stop")
	}
}

func TestLongSocketPathIsRefused(t *testing.T) {
	dir := t.TempDir() + "/a-directory-name-that-is-far-too-long-for-the-path-of-a-unix-socket-on-any-system-we-know-of"
	if _, err := startEtcd(context.Background(), dir); err == nil {
		t.Fatal("a socket path over the system's limit was accepted")
	}
}
