package stack

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Target is a set of pods whose metrics Prometheus is to scrape.
type Target struct {
	// Name is what the monitor is called after.
	Name      string
	Namespace string
	// PodLabels select the pods.
	PodLabels map[string]string
	// Port is the pods' metrics port; PortName its name if the containers
	// declare one, and Declared that they declare the number at all.
	Port     int32
	PortName string
	Declared bool
	// Container is the name of the container that listens there.
	Container string
	// Service and ServicePort name a Service in front of the pods that has the
	// port; ServiceLabels select it. Empty when there is none.
	Service       string
	ServicePort   string
	ServiceLabels map[string]string
}

// Monitor is the object that makes a Prometheus scrape a target: a PodMonitor,
// which needs no Service, or a ServiceMonitor where the Prometheus takes those
// only.
func (c *Client) Monitor(ctx context.Context, p *Prometheus, t Target, interval time.Duration) (*unstructured.Unstructured, error) {
	admission, err := c.Admit(ctx, p, PodMonitorKind, t.Namespace)
	if err == nil {
		return t.podMonitor(admission, interval), nil
	}
	if unread(err) {
		return nil, err
	}
	if t.ServicePort == "" || len(t.ServiceLabels) == 0 {
		return nil, fmt.Errorf("%w; a ServiceMonitor would need a Service with labels and a named metrics port in front of %s/%s", err, t.Namespace, t.Name)
	}
	admission, serviceErr := c.Admit(ctx, p, ServiceMonitorKind, t.Namespace)
	if serviceErr != nil {
		return nil, join(2, err, serviceErr)
	}
	return t.serviceMonitor(admission, interval), nil
}

func (t Target) podMonitor(a Admission, interval time.Duration) *unstructured.Unstructured {
	endpoint := map[string]any{"path": "/metrics", "interval": promDuration(interval), "scrapeTimeout": promDuration(interval)}
	relabelings := []any{
		// The label that monitors of Services give, so that both look alike.
		map[string]any{"action": "replace", "targetLabel": "service", "replacement": t.Name},
		map[string]any{"action": "replace", "targetLabel": "job", "replacement": t.Name},
	}
	switch {
	case t.PortName != "":
		endpoint["port"] = t.PortName
	case t.Declared:
		// The field portNumber is younger than many operators.
		relabelings = append(relabelings, map[string]any{
			"action": "keep", "sourceLabels": []any{"__meta_kubernetes_pod_container_port_number"}, "regex": fmt.Sprint(t.Port),
		})
	default:
		// A port that no container declares is unknown to the discovery. Every
		// port and container of the pod becomes the same target, which
		// Prometheus scrapes once.
		relabelings = append(relabelings,
			address(`([^:]+)`, "${1}", t.Port),
			address(`(.+:.+)`, "[${1}]", t.Port),
			map[string]any{"action": "replace", "targetLabel": "container", "replacement": t.Container},
		)
	}
	endpoint["relabelings"] = relabelings
	return monitor(PodMonitorKind, t.Namespace+"."+t.Name, a, map[string]any{
		"namespaceSelector":   map[string]any{"matchNames": []any{t.Namespace}},
		"selector":            map[string]any{"matchLabels": anyMap(t.PodLabels)},
		"podMetricsEndpoints": []any{endpoint},
	})
}

// address replaces a target's address by the pod's own, if that matches.
func address(regex, host string, port int32) map[string]any {
	return map[string]any{
		"action": "replace", "sourceLabels": []any{"__meta_kubernetes_pod_ip"}, "regex": regex, "targetLabel": "__address__",
		"replacement": fmt.Sprintf("%s:%d", host, port),
	}
}

func (t Target) serviceMonitor(a Admission, interval time.Duration) *unstructured.Unstructured {
	return monitor(ServiceMonitorKind, t.Namespace+"."+t.Name, a, map[string]any{
		"namespaceSelector": map[string]any{"matchNames": []any{t.Namespace}},
		"selector":          map[string]any{"matchLabels": anyMap(t.ServiceLabels)},
		"endpoints": []any{map[string]any{
			"port": t.ServicePort, "path": "/metrics", "interval": promDuration(interval), "scrapeTimeout": promDuration(interval),
		}},
	})
}

// ExporterMonitor makes a Prometheus scrape a GPU exporter that somebody else
// runs.
func (c *Client) ExporterMonitor(ctx context.Context, p *Prometheus, t Target, interval time.Duration) (*unstructured.Unstructured, error) {
	o, err := c.Monitor(ctx, p, t, interval)
	if err != nil {
		return nil, err
	}
	o.SetName("gpu." + t.Namespace + "." + t.Name)
	return o, nil
}

func monitor(kind, name string, a Admission, spec map[string]any) *unstructured.Unstructured {
	return object(monitoringGroup+"/v1", kind, a.Namespace, name, a.Labels, map[string]any{"spec": spec})
}

// object is one of this plugin's own, marked as such.
func object(apiVersion, kind, namespace, name string, labels map[string]string, body map[string]any) *unstructured.Unstructured {
	all := map[string]string{ManagedByLabel: ManagedBy, PartOfLabel: PartOf}
	for k, v := range labels {
		all[k] = v
	}
	o := &unstructured.Unstructured{Object: body}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	o.SetLabels(all)
	return o
}

// promDuration writes a duration as Prometheus reads it.
func promDuration(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return fmt.Sprintf("%dms", d/time.Millisecond)
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}
