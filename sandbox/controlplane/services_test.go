package controlplane

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

func TestServiceRoute(t *testing.T) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "webhook", Namespace: "monitoring"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.7", Ports: []corev1.ServicePort{{Name: "https", Port: 443}, {Name: "idle", Port: 80}}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "webhook-1", Namespace: "monitoring", Labels: map[string]string{discoveryv1.LabelServiceName: "webhook"}},
		Ports:      []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(10250))}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
			{Addresses: []string{"10.244.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}},
		},
	}
	var dialled string
	pods := func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = address
		ours, theirs := net.Pipe()
		theirs.Close()
		return ours, nil
	}
	route := &serviceRoute{services: netip.MustParsePrefix(serviceCIDR), pods: netip.MustParsePrefix(podCIDR)}
	route.set(fake.NewClientset(service, slice), pods)
	for address, want := range map[string]string{"10.96.0.7:443": "10.244.0.2:10250", "10.244.9.9:1": "10.244.9.9:1"} {
		conn, err := route.DialContext(t.Context(), "tcp", address)
		if err != nil || dialled != want {
			t.Errorf("%s leads to %s, %v; want %s", address, dialled, err, want)
			continue
		}
		conn.Close()
	}
	for address, want := range map[string]string{"10.96.0.7:80": "no ready endpoint", "10.96.0.7:81": "no Service has this address and port"} {
		_, err := route.DialContext(t.Context(), "tcp", address)
		var failure *net.OpError
		if !errors.As(err, &failure) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error of the network with %q", address, err, want)
		}
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := route.DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("an ordinary address: %v", err)
	}
	conn.Close()
}
