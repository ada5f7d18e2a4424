package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// PodDialer connects to an address of the pod network, host:port.
type PodDialer func(ctx context.Context, network, address string) (net.Conn, error)

// serviceRoute is how the API server itself reaches Services and pods: to call
// webhooks and to serve the proxy subresources. It stands for kube-proxy.
type serviceRoute struct {
	services netip.Prefix
	pods     netip.Prefix

	mu     sync.RWMutex
	client kubernetes.Interface
	dial   PodDialer
}

func (s *serviceRoute) set(client kubernetes.Interface, dial PodDialer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client, s.dial = client, dial
}

// DialContext connects to cluster IPs by way of a ready endpoint, to pods by
// their own addresses, and to everything else directly.
func (s *serviceRoute) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	s.mu.RLock()
	client, dial := s.client, s.dial
	s.mu.RUnlock()
	target, err := netip.ParseAddrPort(address)
	if err == nil && dial != nil {
		switch {
		case s.services.Contains(target.Addr()):
			endpoint, err := s.endpoint(ctx, client, target)
			if err != nil {
				return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(target), Err: err}
			}
			return dial(ctx, network, endpoint)
		case s.pods.Contains(target.Addr()):
			return dial(ctx, network, address)
		}
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// endpoint finds a ready endpoint of the Service that has a cluster IP.
func (s *serviceRoute) endpoint(ctx context.Context, client kubernetes.Interface, target netip.AddrPort) (string, error) {
	services, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.clusterIP", target.Addr().String()).String(), ResourceVersion: "0",
	})
	if err != nil {
		return "", fmt.Errorf("cannot look up the Service: %w", err)
	}
	for _, service := range services.Items {
		for _, port := range service.Spec.Ports {
			if port.Port != int32(target.Port()) {
				continue
			}
			slices, err := client.DiscoveryV1().EndpointSlices(service.Namespace).List(ctx, metav1.ListOptions{
				LabelSelector: discoveryv1.LabelServiceName + "=" + service.Name, ResourceVersion: "0",
			})
			if err != nil {
				return "", fmt.Errorf("cannot look up the endpoints of the Service %s/%s: %w", service.Namespace, service.Name, err)
			}
			if address, ok := readyEndpoint(slices.Items, port.Name); ok {
				return address, nil
			}
			return "", fmt.Errorf("connect: connection refused: the Service %s/%s has no ready endpoint", service.Namespace, service.Name)
		}
	}
	return "", fmt.Errorf("connect: no route to host: no Service has this address and port")
}

func readyEndpoint(slices []discoveryv1.EndpointSlice, portName string) (string, bool) {
	for _, slice := range slices {
		for _, port := range slice.Ports {
			if port.Port == nil || port.Name == nil || *port.Name != portName {
				continue
			}
			for _, e := range slice.Endpoints {
				if (e.Conditions.Ready == nil || *e.Conditions.Ready) && len(e.Addresses) > 0 {
					return net.JoinHostPort(e.Addresses[0], fmt.Sprint(*port.Port)), true
				}
			}
		}
	}
	return "", false
}
