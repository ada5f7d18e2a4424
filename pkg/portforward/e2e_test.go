//go:build e2e

package portforward

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// These tests run against the cluster of $KUBECONFIG, a sandbox or a real one,
// with Triton behind Service triton/triton-infer.

func e2eDialer(t *testing.T, transport Transport) *Dialer {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	checkLeaks(t)
	d, err := New(Config{REST: config, Transport: transport, Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func e2eContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func live(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://triton/v2/health/live", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

func httpClient(t *testing.T, e *Endpoint) *http.Client {
	transport := &http.Transport{DialContext: e.DialContext, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestE2ETransports(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		d := e2eDialer(t, transport)
		client := httpClient(t, d.Service("triton", "triton-infer", "http"))
		ctx := e2eContext(t)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for range 20 {
					if err := live(ctx, client); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.pods) != 1 {
			t.Errorf("%d pods are used", len(d.pods))
		}
	})
}

// The WebSocket is a WebSocket, and not the fall-back.
func TestE2EWebSocketIsNotFallenBackFrom(t *testing.T) {
	d := e2eDialer(t, TransportWebSocket)
	ctx := e2eContext(t)
	ref, err := d.Service("triton", "triton-infer", "http").Resolve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	target := d.server.JoinPath("api/v1/namespaces", ref.Namespace, "pods", ref.Name, "portforward")
	up, err := d.upgradeWebSocket(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	up.transport.Close()
}

func TestE2ERefused(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		d := e2eDialer(t, transport)
		ctx := e2eContext(t)
		service := d.Service("triton", "triton-infer", "http")
		client := httpClient(t, service)
		ref, err := service.Resolve(ctx)
		if err != nil {
			t.Fatal(err)
		}
		closed := d.Pod(ref.Namespace, ref.Name, "65000")
		for range 30 {
			conn, err := closed.DialContext(ctx, "", "")
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
				conn.Close()
			}
			var refused *RefusedError
			if !errors.As(err, &refused) {
				t.Errorf("got %v", err)
			}
			if err := live(ctx, client); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestE2EKilledPod(t *testing.T) {
	onBoth(t, func(t *testing.T, transport Transport) {
		d := e2eDialer(t, transport)
		ctx := e2eContext(t)
		config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
		if err != nil {
			t.Fatal(err)
		}
		cluster, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		e := d.Service("triton", "triton-infer", "http")
		conn, err := e.DialContext(ctx, "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		before, err := e.Resolve(ctx)
		if err != nil {
			t.Fatal(err)
		}
		now := int64(0)
		if err := cluster.CoreV1().Pods(before.Namespace).Delete(ctx, before.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("the connection outlived its pod")
		}
		for {
			next, err := e.DialContext(ctx, "", "")
			if err == nil {
				next.Close()
				break
			}
			t.Log(err)
			if ctx.Err() != nil {
				t.Fatal("no successor came")
			}
		}
		if err := live(ctx, httpClient(t, e)); err != nil {
			t.Fatal(err)
		}
		after, err := e.Resolve(ctx)
		if err != nil || after.UID == before.UID {
			t.Errorf("still at %v, %v", after, err)
		}
	})
}

func TestE2EForwarder(t *testing.T) {
	d := e2eDialer(t, TransportSPDY)
	f := forward(t, d.Service("triton", "triton-infer", "http"), ForwarderConfig{OnError: func(err error) { t.Error(err) }})
	address := f.LocalAddr().(*net.TCPAddr)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 30 {
		response, err := client.Get("http://127.0.0.1:" + strconv.Itoa(address.Port) + "/v2/health/live")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatal(response.Status)
		}
	}
}

func TestE2EForbidden(t *testing.T) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate.UserName = "nobody-in-particular"
	d, err := New(Config{REST: config})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, err = d.Service("triton", "triton-infer", "http").DialContext(e2eContext(t), "", "")
	var forbidden *ForbiddenError
	if !errors.As(err, &forbidden) || forbidden.Verb != "get" || forbidden.Resource != "services" {
		t.Errorf("got %v", err)
	}
}

// BenchmarkE2E exchanges small HTTP requests with Triton on kept connections:
// through this package, through client-go's streams, and through a Forwarder.
func BenchmarkE2E(b *testing.B) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		b.Fatal(err)
	}
	d, err := New(Config{REST: config})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	e := d.Service("triton", "triton-infer", "http")
	ref, err := e.Resolve(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	f := NewForwarder(e, ForwarderConfig{})
	if err := f.Listen(); err != nil {
		b.Fatal(err)
	}
	go f.Serve(context.Background())
	defer f.Close()
	for _, n := range []int{1, 16, 64} {
		b.Run("conn/"+strconv.Itoa(n), func(b *testing.B) {
			var conns []io.ReadWriter
			for range n {
				conns = append(conns, dial(b, e))
			}
			requests(b, conns)
		})
		b.Run("library/"+strconv.Itoa(n), func(b *testing.B) {
			requests(b, libraryStreams(b, config, d.server.JoinPath("api/v1/namespaces", ref.Namespace, "pods", ref.Name, "portforward").String(), int(ref.Port), n))
		})
		b.Run("forwarder/"+strconv.Itoa(n), func(b *testing.B) {
			var conns []io.ReadWriter
			for range n {
				conn, err := net.Dial("tcp", f.LocalAddr().String())
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				conns = append(conns, conn)
			}
			requests(b, conns)
		})
	}
}

// requests sends b.N requests in all and reports this process's CPU per one.
func requests(b *testing.B, conns []io.ReadWriter) {
	b.Helper()
	b.ReportAllocs()
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, c := range conns {
		n := b.N / len(conns)
		if i < b.N%len(conns) {
			n++
		}
		wg.Go(func() {
			reader := bufio.NewReader(c)
			for range n {
				if _, err := io.WriteString(c, "GET /v2/health/live HTTP/1.1\r\nHost: triton\r\n\r\n"); err != nil {
					b.Error(err)
					return
				}
				response, err := http.ReadResponse(reader, nil)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/1e3/float64(b.N), "cpu-us/op")
}
