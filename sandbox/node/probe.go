package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/kubernetes/pkg/probe"
	grpcprobe "k8s.io/kubernetes/pkg/probe/grpc"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
	tcpprobe "k8s.io/kubernetes/pkg/probe/tcp"
)

// prober performs probes by the kubelet's own probe libraries, against the
// loopback addresses that stand for a pod's ports.
type prober struct {
	network *Network
	http    httpprobe.Prober
	tcp     tcpprobe.Prober
	grpc    grpcprobe.Prober
}

func newProber(network *Network) *prober {
	return &prober{network: network, http: httpprobe.New(false), tcp: tcpprobe.New(), grpc: grpcprobe.New()}
}

// watch performs one probe of a container until ctx ends, and calls changed
// with each verdict that the thresholds let through.
func (p *prober) watch(ctx context.Context, podIP netip.Addr, c *corev1.Container, spec *corev1.Probe, changed func(ok bool, message string)) {
	timer := time.NewTimer(time.Duration(spec.InitialDelaySeconds) * time.Second)
	defer timer.Stop()
	period := time.Duration(max(spec.PeriodSeconds, 1)) * time.Second
	var run int32
	var last, decided, first = false, false, true
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(period)
		}
		ok, message := p.once(podIP, c, spec)
		if first || ok != last {
			run, last, first = 0, ok, false
		}
		run++
		threshold := max(spec.FailureThreshold, 1)
		if ok {
			threshold = max(spec.SuccessThreshold, 1)
		}
		if run == threshold || (!ok && run > threshold) {
			if !ok || !decided {
				changed(ok, message)
			}
			decided = ok
		}
	}
}

func (p *prober) once(podIP netip.Addr, c *corev1.Container, spec *corev1.Probe) (ok bool, message string) {
	timeout := time.Duration(max(spec.TimeoutSeconds, 1)) * time.Second
	var result probe.Result
	var err error
	switch {
	case spec.HTTPGet != nil:
		result, message, err = p.httpGet(podIP, c, spec.HTTPGet, timeout)
	case spec.TCPSocket != nil:
		var host string
		var port int
		if host, port, err = p.local(podIP, c, spec.TCPSocket.Port); err == nil {
			result, message, err = p.tcp.Probe(host, port, timeout)
		}
	case spec.GRPC != nil:
		var host string
		var port int
		if host, port, err = p.local(podIP, c, intstr.FromInt32(spec.GRPC.Port)); err == nil {
			service := ""
			if spec.GRPC.Service != nil {
				service = *spec.GRPC.Service
			}
			result, message, err = p.grpc.Probe(host, service, port, timeout, grpcprobe.ProbeOptions{})
		}
	default: // exec: there is no container to execute in
		return true, ""
	}
	if err != nil {
		return false, err.Error()
	}
	return result == probe.Success || result == probe.Warning, message
}

func (p *prober) httpGet(podIP netip.Addr, c *corev1.Container, get *corev1.HTTPGetAction, timeout time.Duration) (probe.Result, string, error) {
	host, port, err := p.local(podIP, c, get.Port)
	if err != nil {
		return probe.Failure, "", err
	}
	local := get.DeepCopy()
	local.Host, local.Port = host, intstr.FromInt(port)
	request, err := httpprobe.NewRequestForHTTPGetAction(local, c, host, "probe")
	if err != nil {
		return probe.Failure, "", err
	}
	return p.http.Probe(request, timeout)
}

// local finds the loopback address of a port given by number or name.
func (p *prober) local(podIP netip.Addr, c *corev1.Container, port intstr.IntOrString) (host string, localPort int, err error) {
	number, err := containerPort(c, port)
	if err != nil {
		return "", 0, err
	}
	address, ok := p.network.lookup(podIP, number)
	if !ok {
		return "", 0, fmt.Errorf("dial tcp %s: connect: connection refused", netip.AddrPortFrom(podIP, uint16(number)))
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	localPort, err = strconv.Atoi(text)
	return host, localPort, err
}

func containerPort(c *corev1.Container, port intstr.IntOrString) (int32, error) {
	if port.Type == intstr.Int {
		return port.IntVal, nil
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return p.ContainerPort, nil
		}
	}
	return 0, fmt.Errorf("container %s has no port named %q", c.Name, port.StrVal)
}
