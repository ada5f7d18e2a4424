package node

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func httpProbe(port intstr.IntOrString) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: port}}}
}

func TestProbeOnce(t *testing.T) {
	var status atomic.Int32
	status.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			t.Errorf("probed %s", r.URL)
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer server.Close()
	n, pod := NewNetwork(), netip.MustParseAddr("10.244.0.1")
	n.publish(pod, 8000, server.Listener.Addr().String())
	p := newProber(n)
	c := &corev1.Container{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8000}}}
	tcp := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8000)}}}
	dead := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}}}

	tests := []struct {
		name   string
		probe  *corev1.Probe
		status int
		want   bool
		reason string
	}{
		{"ready", httpProbe(intstr.FromInt32(8000)), 200, true, ""},
		{"by port name", httpProbe(intstr.FromString("http")), 204, true, ""},
		{"not ready", httpProbe(intstr.FromInt32(8000)), 503, false, "statuscode: 503"},
		{"unknown port name", httpProbe(intstr.FromString("grpc")), 200, false, `no port named "grpc"`},
		{"nothing listens", httpProbe(intstr.FromInt32(9)), 200, false, "10.244.0.1:9: connect: connection refused"},
		{"tcp", tcp, 200, true, ""},
		{"tcp refused", dead, 200, false, "connection refused"},
	}
	for _, tt := range tests {
		status.Store(int32(tt.status))
		ok, message := p.once(pod, c, tt.probe)
		if ok != tt.want || !strings.Contains(message, tt.reason) {
			t.Errorf("%s: %v, %q; want %v, %q", tt.name, ok, message, tt.want, tt.reason)
		}
	}
}

// TestProbeThresholds runs on synthetic time: the probe fails because nothing
// is published, which needs no network.
func TestProbeThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProber(NewNetwork())
		spec := httpProbe(intstr.FromInt32(8000))
		spec.InitialDelaySeconds, spec.PeriodSeconds, spec.FailureThreshold = 5, 2, 3
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		begin := time.Now()
		var verdicts []time.Duration
		p.watch(ctx, netip.MustParseAddr("10.244.0.1"), &corev1.Container{}, spec, func(ok bool, _ string) {
			if ok {
				t.Error("a dead port passed its probe")
			}
			verdicts = append(verdicts, time.Since(begin))
		})
		// Probes at 5, 7, 9 and 11 s; the third failure is the first verdict.
		if len(verdicts) != 2 || verdicts[0] != 9*time.Second || verdicts[1] != 11*time.Second {
			t.Errorf("verdicts at %v, want 9 s and 11 s", verdicts)
		}
	})
}
