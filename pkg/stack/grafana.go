package stack

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubectl-triton/kubectl-triton/assets"
)

// dashboardFolder is Grafana's folder for the dashboards.
const dashboardFolder = "Triton"

// Sidecar says how a Grafana takes dashboards from ConfigMaps.
type Sidecar struct {
	Namespace        string // where to put them
	Label, Value     string
	FolderAnnotation string
}

// plannedSidecar is that of a release with this package's values.
func plannedSidecar(namespace string) *Sidecar {
	return &Sidecar{Namespace: namespace, Label: "grafana_dashboard", Value: "1", FolderAnnotation: "grafana_folder"}
}

// FindSidecar looks in the namespaces for a Grafana whose sidecar loads
// dashboards; nil when there is none.
func (c *Client) FindSidecar(ctx context.Context, namespaces ...string) (*Sidecar, error) {
	for _, ns := range namespaces {
		list, err := c.kubernetes.AppsV1().Deployments(ns).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=grafana"})
		if err != nil {
			return nil, fmt.Errorf("could not look for Grafana in namespace %s: %w", ns, err)
		}
		for _, d := range list.Items {
			for _, container := range d.Spec.Template.Spec.Containers {
				if s := readSidecar(ns, container); s != nil {
					return s, nil
				}
			}
		}
	}
	return nil, nil
}

func readSidecar(grafanaNamespace string, c corev1.Container) *Sidecar {
	if !strings.Contains(c.Image, "k8s-sidecar") || !strings.Contains(c.Name, "dashboard") {
		return nil
	}
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	if env["LABEL"] == "" || env["RESOURCE"] == "secret" {
		return nil
	}
	s := &Sidecar{Namespace: grafanaNamespace, Label: env["LABEL"], Value: env["LABEL_VALUE"], FolderAnnotation: env["FOLDER_ANNOTATION"]}
	if in := env["NAMESPACE"]; in != "" && in != "ALL" {
		s.Namespace, _, _ = strings.Cut(in, ",")
	}
	if s.Value == "" {
		s.Value = "1"
	}
	return s
}

// dashboards are the ConfigMaps that a sidecar loads.
func (s *Sidecar) dashboards() []*unstructured.Unstructured {
	var objects []*unstructured.Unstructured
	for _, d := range assets.Dashboards() {
		o := object("v1", "ConfigMap", s.Namespace, "triton-"+d.UID, map[string]string{s.Label: s.Value}, map[string]any{
			"data": map[string]any{d.File: string(d.JSON)},
		})
		if s.FolderAnnotation != "" {
			o.SetAnnotations(map[string]string{s.FolderAnnotation: dashboardFolder})
		}
		objects = append(objects, o)
	}
	return objects
}

// rules are the recording rules and alerts as the operator takes them.
func (c *Client) rules(ctx context.Context, p *Prometheus) ([]*unstructured.Unstructured, error) {
	admission, err := c.Admit(ctx, p, PrometheusRuleKind)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, file := range assets.Rules() {
		groups, err := ParseValues(file.YAML, file.Name)
		if err != nil {
			return nil, err
		}
		name := "triton-rules-" + strings.TrimSuffix(file.Name, ".yaml")
		objects = append(objects, object(monitoringGroup+"/v1", PrometheusRuleKind, admission.Namespace, name, admission.Labels, map[string]any{"spec": map[string]any(groups)}))
	}
	return objects, nil
}
