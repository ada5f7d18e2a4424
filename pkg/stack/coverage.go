package stack

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Coverage is one monitor that selects a target, whoever made it.
type Coverage struct {
	Monitor  Ref
	Interval string // that it asks for; "" leaves it to the Prometheus
	// Problem says why the Prometheus does not scrape the target by it, and Mend is
	// the command that changes that, if there is a simple one; Problem is empty when
	// nothing speaks against it.
	Problem, Mend string
}

// Pools is the beginning of the names of the monitor's scrape jobs, as the
// operator makes them.
func (c Coverage) Pools() string {
	return strings.ToLower(c.Monitor.Kind[:1]) + c.Monitor.Kind[1:] + "/" + c.Monitor.Namespace + "/" + c.Monitor.Name + "/"
}

// Covering lists the monitors that select a target, those by which p scrapes it
// first.
func (m *Monitors) Covering(p *Prometheus, t Target) []Coverage {
	var found []Coverage
	for _, item := range m.items {
		if !item.covers(t) {
			continue
		}
		c := Coverage{Monitor: item.Ref}
		endpoints := slices.Concat(item.spec.Endpoints, item.spec.PodMetricsEndpoints)
		if len(endpoints) > 0 {
			c.Interval = endpoints[0].Interval
		}
		c.Problem, c.Mend = m.refusal(p, item)
		if c.Problem == "" {
			c.Problem = item.portProblem(t)
		}
		found = append(found, c)
	}
	slices.SortStableFunc(found, func(a, b Coverage) int {
		return min(len(a.Problem), 1) - min(len(b.Problem), 1)
	})
	return found
}

// refusal says why a Prometheus's selectors leave a monitor out.
func (m *Monitors) refusal(p *Prometheus, item monitorSpec) (problem, mend string) {
	s := p.selectors[item.Kind]
	field := strings.ToLower(item.Kind[:1]) + item.Kind[1:]
	if s.object == nil {
		return fmt.Sprintf("Prometheus %s takes no %ss: its %sSelector is not set", p, item.Kind, field), ""
	}
	selector, err := metav1.LabelSelectorAsSelector(s.object)
	if err != nil {
		return fmt.Sprintf("the %sSelector of Prometheus %s can't be read: %v", field, p, err), ""
	}
	if !selector.Matches(item.labels) {
		problem = fmt.Sprintf("the %sSelector of Prometheus %s asks for %s, which %s %s/%s does not have", field, p, selector, item.Kind, item.Namespace, item.Name)
		return problem, item.labelling(s.object, selector)
	}
	if s.namespace == nil {
		if item.Namespace != p.Namespace {
			return fmt.Sprintf("Prometheus %s takes %ss from its own namespace only, and this one is in %s", p, item.Kind, item.Namespace), ""
		}
		return "", ""
	}
	selector, err = metav1.LabelSelectorAsSelector(s.namespace)
	if err != nil {
		return fmt.Sprintf("the %sNamespaceSelector of Prometheus %s can't be read: %v", field, p, err), ""
	}
	if !selector.Matches(m.namespaces[item.Namespace]) {
		problem = fmt.Sprintf("Prometheus %s takes %ss from namespaces with %s only, and namespace %s is none", p, item.Kind, selector, item.Namespace)
		if len(s.namespace.MatchExpressions) == 0 {
			mend = "kubectl label namespace " + item.Namespace + " " + labels.Set(s.namespace.MatchLabels).String()
			mend = strings.ReplaceAll(mend, ",", " ") + " --overwrite"
		}
		return problem, mend
	}
	return "", ""
}

// labelling is the command that gives the monitor what the selector asks for;
// "" when labels alone can't.
func (i monitorSpec) labelling(wanted *metav1.LabelSelector, selector labels.Selector) string {
	set, err := satisfy(wanted)
	if err != nil {
		return ""
	}
	own := labels.Set{}
	maps.Copy(own, i.labels)
	var add []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if key == ManagedByLabel || key == PartOfLabel || own[key] == set[key] {
			continue
		}
		own[key] = set[key]
		add = append(add, key+"="+set[key])
	}
	if len(add) == 0 || !selector.Matches(own) {
		return ""
	}
	return fmt.Sprintf("kubectl label %s --namespace %s %s %s --overwrite", strings.ToLower(i.Kind), i.Namespace, i.Name, strings.Join(add, " "))
}

// portProblem says that no endpoint of the monitor names a port that the target
// has. Endpoints that go by number are taken as right.
func (i monitorSpec) portProblem(t Target) string {
	has, what := t.PortName, "the pods of "+t.Namespace+"/"+t.Name
	endpoints := i.spec.PodMetricsEndpoints
	if i.Kind == ServiceMonitorKind {
		has, what, endpoints = t.ServicePort, "Service "+t.Namespace+"/"+t.Service, i.spec.Endpoints
	}
	var names []string
	for _, e := range endpoints {
		if e.Port == "" || e.Port == has {
			return ""
		}
		names = append(names, e.Port)
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s %s/%s has no endpoints", i.Kind, i.Namespace, i.Name)
	}
	text := "none with a name"
	if has != "" {
		text = has
	}
	return fmt.Sprintf("%s %s/%s asks for port %s; the metrics port of %s is %s", i.Kind, i.Namespace, i.Name, strings.Join(names, " and "), what, text)
}
