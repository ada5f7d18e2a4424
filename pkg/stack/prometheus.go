package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const monitoringGroup = "monitoring.coreos.com"

// The kinds of prometheus-operator that this package makes.
const (
	ServiceMonitorKind = "ServiceMonitor"
	PodMonitorKind     = "PodMonitor"
	PrometheusRuleKind = "PrometheusRule"
)

var prometheuses = schema.GroupVersionResource{Group: monitoringGroup, Version: "v1", Resource: "prometheuses"}

// Prometheus is one Prometheus of prometheus-operator, or one that is about to
// be installed.
type Prometheus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Version   string `json:"version,omitempty"`
	Owner     Owner  `json:"owner"`
	// Conditions by type (Available, Reconciled): empty text when true, else why not.
	Conditions     map[string]string `json:"conditions,omitempty"`
	Retention      string            `json:"retention,omitempty"`
	RetentionSize  string            `json:"retentionSize,omitempty"`
	ScrapeInterval string            `json:"scrapeInterval,omitempty"`
	// Storage is the size of the volume that was asked for; empty when samples
	// are lost with the pod.
	Storage string `json:"storage,omitempty"`

	selectors map[string]selection
	// release is the Helm release that made it, whoever runs Helm.
	release Owner
}

// selection says which objects of a kind a Prometheus takes. A nil selector
// takes none; a nil namespace selector means its own namespace.
type selection struct {
	object, namespace *metav1.LabelSelector
}

func (p *Prometheus) String() string { return p.Namespace + "/" + p.Name }

// Available says whether the operator reports it so, and why not.
func (p *Prometheus) Available() (bool, string) {
	for _, condition := range []string{"Available", "Reconciled"} {
		why, reported := p.Conditions[condition]
		if !reported {
			return false, "the operator has not reported on it yet"
		}
		if why != "" {
			return false, why
		}
	}
	return true, ""
}

// PlannedPrometheus is the one that a release makes with this package's values:
// it takes everything.
func PlannedPrometheus(namespace, release string) *Prometheus {
	all := selection{object: &metav1.LabelSelector{}, namespace: &metav1.LabelSelector{}}
	return &Prometheus{
		Namespace: namespace, Name: fullName(release) + "-prometheus", Owner: Owner{Tool: "Helm", Name: release, Namespace: namespace},
		selectors: map[string]selection{ServiceMonitorKind: all, PodMonitorKind: all, PrometheusRuleKind: all},
	}
}

// fullName is how kube-prometheus-stack names what belongs to a release.
func fullName(release string) string {
	const chart = "kube-prometheus-stack"
	name := release
	if !strings.Contains(release, chart) {
		name += "-" + chart
	}
	return strings.TrimSuffix(name[:min(len(name), 26)], "-")
}

// Prometheuses lists those of the whole cluster; none when the operator's
// kinds aren't there.
func (c *Client) Prometheuses(ctx context.Context) ([]*Prometheus, error) {
	var found []*Prometheus
	var unreadable error
	err := c.eachObject(ctx, prometheuses, metav1.ListOptions{}, func(o *unstructured.Unstructured) {
		p, err := newPrometheus(o)
		if err != nil {
			unreadable = err
			return
		}
		found = append(found, p)
	})
	if err != nil {
		return nil, fmt.Errorf("could not list the cluster's Prometheuses: %w", err)
	}
	if unreadable != nil {
		return nil, unreadable
	}
	return found, nil
}

func newPrometheus(o *unstructured.Unstructured) (*Prometheus, error) {
	var spec struct {
		Retention, RetentionSize, ScrapeInterval, Version            string
		ServiceMonitorSelector, PodMonitorSelector, RuleSelector     *metav1.LabelSelector
		ServiceMonitorNamespaceSelector, PodMonitorNamespaceSelector *metav1.LabelSelector
		RuleNamespaceSelector                                        *metav1.LabelSelector
		Storage                                                      *struct {
			VolumeClaimTemplate struct {
				Spec struct {
					Resources struct{ Requests corev1.ResourceList }
				}
			}
		}
	}
	if err := readSpec(o, &spec); err != nil {
		return nil, fmt.Errorf("the Prometheus %s/%s can't be read: %w", o.GetNamespace(), o.GetName(), err)
	}
	p := &Prometheus{
		Namespace: o.GetNamespace(), Name: o.GetName(), Version: spec.Version, Owner: OwnerOf(o), Conditions: map[string]string{},
		Retention: spec.Retention, RetentionSize: spec.RetentionSize, ScrapeInterval: spec.ScrapeInterval,
		selectors: map[string]selection{
			ServiceMonitorKind: {spec.ServiceMonitorSelector, spec.ServiceMonitorNamespaceSelector},
			PodMonitorKind:     {spec.PodMonitorSelector, spec.PodMonitorNamespaceSelector},
			PrometheusRuleKind: {spec.RuleSelector, spec.RuleNamespaceSelector},
		},
	}
	if spec.Storage != nil {
		if size, ok := spec.Storage.VolumeClaimTemplate.Spec.Resources.Requests[corev1.ResourceStorage]; ok {
			p.Storage = size.String()
		}
	}
	p.release = helmRelease(o)
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		kind, _ := condition["type"].(string)
		why := ""
		if condition["status"] != "True" {
			reason, _ := condition["reason"].(string)
			message, _ := condition["message"].(string)
			why = strings.Trim(reason+": "+message, ": ")
			if why == "" {
				why = "not " + kind
			}
		}
		p.Conditions[kind] = why
	}
	return p, nil
}

// Admission is where an object has to be and which labels it needs so that a
// Prometheus takes it.
type Admission struct {
	Namespace string
	Labels    map[string]string
}

// Admit finds how an object of a kind gets taken: in the Prometheus's own
// namespace if possible, else in one of the others.
func (c *Client) Admit(ctx context.Context, p *Prometheus, kind string, others ...string) (Admission, error) {
	s := p.selectors[kind]
	if s.object == nil {
		return Admission{}, fmt.Errorf("Prometheus %s takes no %ss: its selector for them is not set", p, kind)
	}
	wanted, err := satisfy(s.object)
	if err != nil {
		return Admission{}, fmt.Errorf("no labels make Prometheus %s take a %s: %w", p, kind, err)
	}
	if s.namespace == nil {
		return Admission{Namespace: p.Namespace, Labels: wanted}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(s.namespace)
	if err != nil {
		return Admission{}, fmt.Errorf("the namespace selector of Prometheus %s can't be read: %w", p, err)
	}
	candidates := append([]string{p.Namespace}, others...)
	if selector.Empty() {
		return Admission{Namespace: candidates[0], Labels: wanted}, nil
	}
	for _, name := range candidates {
		ns, err := c.kubernetes.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue // the stack's own, not made yet
		}
		if err != nil {
			return Admission{}, &unreadError{fmt.Errorf("could not read the labels of namespace %s: %w", name, err)}
		}
		if selector.Matches(labels.Set(ns.Labels)) {
			return Admission{Namespace: name, Labels: wanted}, nil
		}
	}
	return Admission{}, fmt.Errorf("Prometheus %s takes %ss from namespaces labelled %s only, and %s is none; label one with 'kubectl label namespace %s …'",
		p, kind, selector, strings.Join(candidates, " and "), candidates[0])
}

// unreadError says that nothing is known of what a Prometheus takes: it is no
// reason to do without what is there already.
type unreadError struct{ error }

func (e *unreadError) Unwrap() error { return e.error }

func unread(err error) bool {
	var e *unreadError
	return errors.As(err, &e)
}

// satisfy gives labels that a selector matches.
func satisfy(s *metav1.LabelSelector) (map[string]string, error) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, err
	}
	set := map[string]string{ManagedByLabel: ManagedBy, PartOfLabel: PartOf}
	for k, v := range s.MatchLabels {
		set[k] = v
	}
	for _, e := range s.MatchExpressions {
		if value, there := set[e.Key]; there && fits(s, e.Key, value) {
			continue
		}
		// The first value that suits all that is said about the key.
		for _, value := range append(slices.Clone(e.Values), "true") {
			if wants(e.Operator) && fits(s, e.Key, value) {
				set[e.Key] = value
				break
			}
		}
	}
	if !selector.Matches(labels.Set(set)) {
		return nil, fmt.Errorf("its selector is %s", selector)
	}
	return set, nil
}

// wants says whether an operator needs the label to be there.
func wants(o metav1.LabelSelectorOperator) bool {
	return o == metav1.LabelSelectorOpIn || o == metav1.LabelSelectorOpExists
}

// fits says whether a value satisfies all expressions about a key.
func fits(s *metav1.LabelSelector, key, value string) bool {
	about := &metav1.LabelSelector{}
	for _, e := range s.MatchExpressions {
		if e.Key == key {
			about.MatchExpressions = append(about.MatchExpressions, e)
		}
	}
	selector, err := metav1.LabelSelectorAsSelector(about)
	return err == nil && selector.Matches(labels.Set{key: value})
}
