package portforward

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// readyPod is a running pod of the test Service with Triton's ports.
func readyPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "triton", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": "triton"}},
		Spec: corev1.PodSpec{NodeName: "gpu-0", Containers: []corev1.Container{{Name: "triton", Ports: []corev1.ContainerPort{
			{Name: "http-triton", ContainerPort: 8000}, {Name: "grpc-triton", ContainerPort: 8001}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

func unready(p *corev1.Pod, reason string) *corev1.Pod {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: reason}}
	return p
}

// service is svc/triton-infer with a numbered and a named target port.
func service() *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{Kind: "Service", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "triton", Name: "triton-infer"},
		Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.7", Selector: map[string]string{"app": "triton"}, Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8000)},
			{Name: "grpc", Port: 8001, TargetPort: intstr.FromString("grpc-triton")},
			{Name: "metrics", Port: 8002},
		}},
	}
}

func (c *cluster) setService(s *corev1.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.services[s.Namespace+"/"+s.Name] = s
}

// listen runs handle for each connection to a port of a pod.
func (c *cluster) listen(pod string, port int, handle func(net.Conn)) {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]struct{}{}
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = struct{}{}
			mu.Unlock()
			wg.Go(func() {
				handle(conn)
				mu.Lock()
				delete(open, conn)
				mu.Unlock()
			})
		}
	})
	c.t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	c.mu.Lock()
	c.backends[fmt.Sprintf("%s:%d", pod, port)] = l.Addr().String()
	c.mu.Unlock()
}

func echo(conn net.Conn) {
	defer conn.Close()
	io.Copy(conn, conn)
}

// tritonCluster has a Service, one ready pod and an echo behind its HTTP port.
func tritonCluster(t testing.TB) *cluster {
	c := newCluster(t)
	c.setService(service())
	c.setPod(readyPod("triton-0"))
	c.listen("triton-0", 8000, echo)
	return c
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// dial opens a connection that ends with the test.
func dial(t testing.TB, e *Endpoint) net.Conn {
	t.Helper()
	c, err := e.DialContext(testContext(t), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exchange sends a text through an echo.
func exchange(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("sent %q, got %q", text, got)
	}
	return nil
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx := testContext(t)
	for !holds() {
		if !sleep(ctx, time.Millisecond) {
			t.Fatalf("never became true: %s", what)
		}
	}
}
