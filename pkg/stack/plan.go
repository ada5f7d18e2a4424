package stack

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Component is a part of the stack, as a person thinks of it.
type Component struct {
	Name string `json:"name"`
	// Verb is what happens to it as a whole.
	Verb Verb `json:"verb"`
	// Note says what it is, or why it is reused or left out.
	Note    string       `json:"note,omitempty"`
	Changes []Change     `json:"changes,omitempty"`
	Release *ReleasePlan `json:"-"`
}

// Plan is everything that making a wish true would do.
type Plan struct {
	Wish
	// Prometheus is the one that scrapes: there already or about to be.
	Prometheus *Prometheus
	// Sidecar is nil when no Grafana takes dashboards from ConfigMaps.
	Sidecar *Sidecar

	NamespaceMissing bool
	CRDs             Component
	Stack            Component // kube-prometheus-stack
	Exporter         Component // dcgm-exporter
	Monitors         Component
	Rules            Component
	Dashboards       Component
	// Notes are what a person should know besides.
	Notes []string

	objects []*unstructured.Unstructured // of monitors, rules and dashboards
	stale   []Change                     // own objects that are no longer wanted
}

// Components are the parts in the order in which they are told.
func (p *Plan) Components() []*Component {
	return []*Component{&p.CRDs, &p.Stack, &p.Exporter, &p.Monitors, &p.Rules, &p.Dashboards}
}

// Changed says whether anything would change.
func (p *Plan) Changed() bool {
	return p.NamespaceMissing || slices.ContainsFunc(p.Components(), func(c *Component) bool {
		return c.Verb != Unchanged && c.Verb != Reuse && c.Verb != Keep
	})
}

// Plan compares a wish with the cluster and changes nothing.
func (c *Client) Plan(ctx context.Context, w Wish) (*Plan, error) {
	p := &Plan{Wish: w}
	ns, err := c.namespace(ctx, w.Namespace)
	if err != nil {
		return nil, err
	}
	p.NamespaceMissing = ns == nil
	releases := c.records(w.Namespace)
	found, err := c.Prometheuses(ctx)
	if err != nil {
		return nil, err
	}
	own, err := releases.Get(ctx, PrometheusStackChart().Release)
	if err != nil {
		return nil, err
	}
	manage, err := p.choosePrometheus(found, own)
	if err != nil {
		return nil, err
	}
	monitors, err := c.Monitors(ctx)
	if err != nil {
		return nil, err
	}
	// The exporter's monitor needs what the Prometheus of the first will take.
	if err := p.planStack(ctx, c, releases, own, manage); err != nil {
		return nil, err
	}
	if err := p.planExporter(ctx, c, releases); err != nil {
		return nil, err
	}
	if err := p.planObjects(ctx, c, monitors, manage); err != nil {
		return nil, err
	}
	return p, nil
}

// choosePrometheus settles on the Prometheus to use, and says whether its
// release is this plugin's to manage.
func (p *Plan) choosePrometheus(found []*Prometheus, own *Release) (manage bool, err error) {
	name := PrometheusStackChart().Release
	var released *Prometheus // the one that the release made
	names := make([]string, 0, len(found))
	for _, f := range found {
		names = append(names, f.String())
		if f.release == (Owner{Tool: "Helm", Name: name, Namespace: p.Namespace}) {
			released = f
		}
	}
	kept := own.keptByGitOps() || released != nil && released.Owner.GitOps()
	p.Stack.Name = "kube-prometheus-stack"
	switch {
	case p.Wish.Prometheus != "":
		i := slices.Index(names, p.Wish.Prometheus)
		if i < 0 {
			return false, fmt.Errorf("there is no Prometheus %s; the cluster has %s", p.Wish.Prometheus, cmp.Or(strings.Join(names, ", "), "none"))
		}
		p.Prometheus = found[i]
		if own != nil && own.Own && !kept && released == found[i] {
			return true, nil
		}
	case own != nil && !kept && (own.Own || p.Adopt):
		p.Prometheus = PlannedPrometheus(p.Namespace, name)
		return true, nil
	case released != nil:
		p.Prometheus = released
	case len(found) == 1:
		p.Prometheus = found[0]
	case len(found) > 1:
		return false, fmt.Errorf("the cluster has several Prometheuses; choose the one that is to scrape Triton by --prometheus: %s", strings.Join(names, ", "))
	case kept:
		return false, fmt.Errorf("the Helm release %s in namespace %s belongs to a GitOps tool and has no Prometheus; let that tool mend it, or choose another namespace with --stack-namespace", name, p.Namespace)
	case own != nil:
		return false, fmt.Errorf("the Helm release %s in namespace %s was made by somebody else and has no Prometheus; take it over with --adopt, or choose another namespace with --stack-namespace", name, p.Namespace)
	default:
		p.Prometheus = PlannedPrometheus(p.Namespace, name)
		return true, nil
	}
	p.Stack.Verb = Reuse
	p.Stack.Note = fmt.Sprintf("Prometheus %s, owned by %s", p.Prometheus, p.Prometheus.Owner)
	return false, nil
}

func (p *Plan) planStack(ctx context.Context, c *Client, releases *Releases, own *Release, manage bool) error {
	p.CRDs = Component{Name: "CRDs", Verb: Unchanged, Note: "those that are there"}
	if !manage {
		return nil
	}
	if p.AsInstalled {
		if err := p.inspect(ctx, &p.Stack, releases, own); err != nil || own == nil {
			return err
		}
		return p.settlePrometheus(p.Stack.Release)
	}
	chart := PrometheusStackChart()
	pkg, err := p.Source.Load(ctx, chart)
	if err != nil {
		return err
	}
	existing := own.adoptedValues()
	layers, err := p.prometheusLayers(existing)
	if err != nil {
		return err
	}
	if !p.SkipKeyCheck {
		if err := pkg.CheckKeys(p.PrometheusValues); err != nil {
			return err
		}
	}
	values := remember(Merge(layers...), existing)
	crds, err := pkg.CRDsFor(values)
	if err != nil {
		return err
	}
	if p.CRDs.Changes, err = c.PlanCRDs(ctx, crds); err != nil {
		return err
	}
	p.CRDs.Verb, p.CRDs.Note = summarise(p.CRDs.Changes), "prometheus-operator "+pkg.AppVersion()
	release, err := releases.Plan(ctx, chart.Release, pkg, values)
	if err != nil {
		return err
	}
	p.adopt(&p.Stack, release)
	return p.settlePrometheus(release)
}

// settlePrometheus replaces the assumed Prometheus by the one that a release
// has: the user's values may name it otherwise or make it choosy.
func (p *Plan) settlePrometheus(release *ReleasePlan) error {
	for _, o := range release.Objects() {
		if o.GroupVersionKind().Group != monitoringGroup || o.GetKind() != "Prometheus" {
			continue
		}
		planned, err := newPrometheus(o)
		if err != nil {
			return err
		}
		planned.Owner = Owner{Tool: "Helm", Name: release.Name, Namespace: p.Namespace}
		p.Prometheus = planned
		return nil
	}
	return fmt.Errorf("the Helm release %s makes no Prometheus with these values; nothing would scrape Triton. Leave prometheus.enabled on, or use another Prometheus with --prometheus", release.Name)
}

// inspect is a component as it was installed, or that it wasn't.
func (p *Plan) inspect(ctx context.Context, c *Component, releases *Releases, own *Release) error {
	if own == nil {
		c.Verb, c.Note = Create, "not installed"
		return nil
	}
	release, err := releases.Inspect(ctx, own)
	if err != nil {
		return err
	}
	p.adopt(c, release)
	c.Note += fmt.Sprintf(", revision %d, %s since %s", own.Revision, own.Status, own.Updated.Local().Format(time.DateTime+" MST"))
	return nil
}

// adopt makes a release's plan a component's.
func (p *Plan) adopt(c *Component, release *ReleasePlan) {
	release.Recover = p.Recover
	c.Release, c.Changes, c.Verb = release, release.Changes, release.Verb
	c.Note = release.chart() + " as " + release.Name
	if release.Why != "" {
		c.Note += ": " + release.Why
	}
}

func (p *Plan) planExporter(ctx context.Context, c *Client, releases *Releases) error {
	chart := DCGMExporterChart()
	p.Exporter.Name = "dcgm-exporter"
	own, err := releases.Get(ctx, chart.Release)
	if err != nil {
		return err
	}
	switch {
	case own.keptByGitOps():
		p.Exporter.Verb = Reuse
		p.Exporter.Note = fmt.Sprintf("the Helm release %s, which a GitOps tool keeps", own.Name)
		return nil
	case own != nil && !own.Own && !p.Adopt:
		p.Exporter.Verb = Reuse
		p.Exporter.Note = fmt.Sprintf("the Helm release %s, made by somebody else; --adopt takes it over", own.Name)
		return nil
	case own == nil && len(p.Exporters) > 0:
		p.Exporter.Verb = Reuse
		names := make([]string, 0, len(p.Exporters))
		for _, e := range p.Exporters {
			names = append(names, fmt.Sprintf("%s (%s/%s)", e.What, e.Namespace, e.Name))
		}
		p.Exporter.Note = strings.Join(names, ", ")
		return nil
	case own == nil && p.Placement.GPUNodes == 0:
		p.Exporter.Verb = Unchanged
		p.Exporter.Note = "left out: the cluster has no GPU node now; run this again when it has"
		return nil
	}
	if p.AsInstalled {
		return p.inspect(ctx, &p.Exporter, releases, own)
	}
	pkg, err := p.Source.Load(ctx, chart)
	if err != nil {
		return err
	}
	if !p.SkipKeyCheck {
		if err := pkg.CheckKeys(p.ExporterValues); err != nil {
			return err
		}
	}
	existing := own.adoptedValues()
	// The chart's own monitor serves if the Prometheus takes it where it is.
	var admission *Admission
	a, taken, err := p.admits(ctx, c)
	if err != nil {
		return err
	}
	if taken {
		a.Labels["release"] = cmp.Or(a.Labels["release"], PrometheusStackChart().Release)
		admission = &a
	}
	layers, err := p.exporterLayers(admission, existing)
	if err != nil {
		return err
	}
	release, err := releases.Plan(ctx, chart.Release, pkg, remember(Merge(layers...), existing))
	if err != nil {
		return err
	}
	p.adopt(&p.Exporter, release)
	if admission == nil {
		p.Exporters = append(p.Exporters, ExistingExporter{What: "the exporter", Target: OwnExporter(p.Namespace)})
	}
	return nil
}

// admits says how the Prometheus takes a ServiceMonitor, and whether the stack's
// own namespace is one of those that it looks into.
func (p *Plan) admits(ctx context.Context, c *Client) (a Admission, taken bool, err error) {
	a, err = c.Admit(ctx, p.Prometheus, ServiceMonitorKind, p.Namespace)
	switch {
	case unread(err):
		return a, false, err
	case err != nil:
		return a, false, nil
	case a.Namespace == p.Namespace:
		return a, true, nil
	case p.Prometheus.selectors[ServiceMonitorKind].namespace == nil:
		return a, false, nil
	}
	elsewhere := *p.Prometheus
	elsewhere.Namespace = p.Namespace
	here, err := c.Admit(ctx, &elsewhere, ServiceMonitorKind)
	if unread(err) {
		return a, false, err
	}
	return a, err == nil && here.Namespace == p.Namespace, nil
}

// OwnExporter is the release's DaemonSet as a target.
func OwnExporter(namespace string) Target {
	name := DCGMExporterChart().Release
	labels := map[string]string{"app.kubernetes.io/name": "dcgm-exporter", "app.kubernetes.io/instance": name}
	return Target{Name: name, Namespace: namespace, PodLabels: labels, Port: 9400, PortName: "metrics", Declared: true, Container: "exporter",
		Service: name, ServicePort: "metrics", ServiceLabels: labels}
}

// summarise is the verb of a component whose parts are changes.
func summarise(changes []Change) Verb {
	verb := Unchanged
	for _, c := range changes {
		switch c.Verb {
		case Update, Delete:
			return Update
		case Unknown: // what no dry run told, applying finds out
			verb = Unknown
		case Create:
			if slices.ContainsFunc(changes, func(o Change) bool { return o.Before != nil && o.Verb != Create }) {
				return Update
			}
			if verb != Unknown {
				verb = Create
			}
		}
	}
	return verb
}

// Manifests are all objects that the plan would make, those to be applied
// first at the front.
func (p *Plan) Manifests() []*unstructured.Unstructured {
	var all []*unstructured.Unstructured
	for _, change := range p.CRDs.Changes {
		all = append(all, change.After)
	}
	for _, component := range []*Component{&p.Stack, &p.Exporter} {
		if component.Release != nil {
			all = append(all, component.Release.Objects()...)
		}
	}
	all = append(all, p.objects...)
	sortObjects(all)
	return all
}
