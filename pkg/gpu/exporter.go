package gpu

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ExporterKind says whose an exporter is.
type ExporterKind string

const (
	ExporterHelm        ExporterKind = "Helm release"
	ExporterGPUOperator ExporterKind = "GPU Operator"
	ExporterGKE         ExporterKind = "GKE managed"
	ExporterEKS         ExporterKind = "EKS add-on"
	ExporterAKS         ExporterKind = "AKS managed"
	ExporterOther       ExporterKind = "other"
)

// defaultPort is dcgm-exporter's; AKS' managed one listens on aksPort.
const (
	defaultPort = 9400
	aksPort     = 19400
)

// Exporter is a dcgm-exporter that is in the cluster already: a DaemonSet, or
// pods that look like one.
type Exporter struct {
	Kind      ExporterKind
	Namespace string
	Name      string // of the DaemonSet, or of what owns the pods
	DaemonSet bool
	Release   string // of Helm, in ReleaseNamespace; "" when it isn't Helm's
	// ReleaseNamespace is where Helm keeps the release.
	ReleaseNamespace string
	// ManagedBy is who would undo a change: Helm, GPU Operator, Argo CD, Flux,
	// the cloud; "" when nobody is known to.
	ManagedBy string
	Image     string

	Selector map[string]string // labels of its pods
	PortName string            // of the metrics; "" when the port has no name
	Port     int32

	NodeSelector     map[string]string
	Tolerations      []corev1.Toleration
	RuntimeClassName string // "" for the default

	Wanted, Ready int // pods, as the DaemonSet's status counts them
	Covered       int // GPU nodes with a ready pod of it
	Pods          []ExporterPod

	byPods bool // only its pods have been read
}

// String is the exporter as namespace/name.
func (e *Exporter) String() string { return e.Namespace + "/" + e.Name }

// Owner is whose the exporter is, in words.
func (e *Exporter) Owner() string {
	switch {
	case e.Kind != ExporterOther:
		return string(e.Kind)
	case e.ManagedBy != "":
		return e.ManagedBy
	case e.byPods:
		return "of unknown owner"
	}
	return "installed by hand"
}

// IsRelease tells whether the exporter is that Helm release's.
func (e *Exporter) IsRelease(namespace, name string) bool {
	return e.Release == name && e.ReleaseNamespace == namespace
}

// ExporterPod is one pod of an exporter.
type ExporterPod struct {
	Exporter  string // namespace/name
	Namespace string
	Name      string
	Node      string
	Ready     bool
	Reason    string // why it isn't ready, as its status says; may be ""
}

// looksLikeExporter goes by the image and by the labels of the chart and of the
// GPU Operator.
func looksLikeExporter(labels map[string]string, spec *corev1.PodSpec) bool {
	return labels["app.kubernetes.io/name"] == "dcgm-exporter" || labels["app"] == "nvidia-dcgm-exporter" ||
		exporterContainer(spec) != nil
}

func exporterContainer(spec *corev1.PodSpec) *corev1.Container {
	i := slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return strings.Contains(c.Image, "dcgm-exporter") })
	if i < 0 {
		return nil
	}
	return &spec.Containers[i]
}

func exporterOfDaemonSet(d *appsv1.DaemonSet) *Exporter {
	if !looksLikeExporter(d.Spec.Template.Labels, &d.Spec.Template.Spec) && !looksLikeExporter(d.Labels, &d.Spec.Template.Spec) {
		return nil
	}
	e := &Exporter{
		Namespace: d.Namespace, Name: d.Name, DaemonSet: true,
		Wanted: int(d.Status.DesiredNumberScheduled), Ready: int(d.Status.NumberReady),
	}
	if d.Spec.Selector != nil {
		e.Selector = d.Spec.Selector.MatchLabels
	}
	if len(e.Selector) == 0 { // by expressions
		e.Selector = lasting(d.Spec.Template.Labels)
	}
	e.place(&d.Spec.Template.Spec)
	e.identify(&d.ObjectMeta, d.Spec.Template.Labels)
	return e
}

// exporterOfPod describes an exporter of which only pods are known.
func exporterOfPod(p *corev1.Pod, owner *metav1.OwnerReference) *Exporter {
	e := &Exporter{Namespace: p.Namespace, Name: p.Name, Selector: map[string]string{}, byPods: true}
	if owner != nil {
		e.Name, e.DaemonSet = owner.Name, owner.Kind == "DaemonSet"
	}
	for _, key := range []string{"app.kubernetes.io/name", "app.kubernetes.io/instance", "app", "k8s-app"} {
		if v := p.Labels[key]; v != "" {
			e.Selector[key] = v
		}
	}
	if len(e.Selector) == 0 {
		e.Selector = lasting(p.Labels)
	}
	e.place(&p.Spec)
	e.identify(&p.ObjectMeta, p.Labels)
	return e
}

// lasting are the labels that all pods of a DaemonSet have, in every revision. An
// empty selector would be every pod of the namespace.
func lasting(labels map[string]string) map[string]string {
	kept := maps.Clone(labels)
	delete(kept, appsv1.ControllerRevisionHashLabelKey)
	delete(kept, "pod-template-generation")
	return kept
}

func (e *Exporter) place(spec *corev1.PodSpec) {
	e.NodeSelector, e.Tolerations = spec.NodeSelector, spec.Tolerations
	if spec.RuntimeClassName != nil {
		e.RuntimeClassName = *spec.RuntimeClassName
	}
	c := exporterContainer(spec)
	if c == nil && len(spec.Containers) > 0 {
		c = &spec.Containers[0]
	}
	e.Port = defaultPort
	if c == nil {
		return
	}
	e.Image = c.Image
	for _, p := range c.Ports {
		if p.Name == "metrics" || p.Name == "gpu-metrics" || p.ContainerPort == defaultPort || p.ContainerPort == aksPort {
			e.PortName, e.Port = p.Name, p.ContainerPort
			break
		}
	}
}

// identify says whose the exporter is.
func (e *Exporter) identify(meta *metav1.ObjectMeta, podLabels map[string]string) {
	label := func(key string) string { return firstOf(meta.Labels[key], podLabels[key]) }
	ownedBy := func(kind string) bool {
		return slices.ContainsFunc(meta.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == kind })
	}
	e.Release, e.ReleaseNamespace = meta.Annotations["meta.helm.sh/release-name"], meta.Annotations["meta.helm.sh/release-namespace"]
	switch {
	case label("app") == "nvidia-dcgm-exporter" || ownedBy("ClusterPolicy") || label("app.kubernetes.io/managed-by") == "gpu-operator":
		e.Kind, e.ManagedBy = ExporterGPUOperator, "GPU Operator"
	case e.Namespace == "gke-managed-system" || label("app.kubernetes.io/name") == "gke-managed-dcgm-exporter":
		e.Kind, e.ManagedBy = ExporterGKE, "GKE"
	case e.Namespace == "amazon-cloudwatch":
		e.Kind, e.ManagedBy = ExporterEKS, "EKS"
	case e.Port == aksPort || label("kubernetes.azure.com/managedby") == "aks":
		e.Kind, e.ManagedBy = ExporterAKS, "AKS"
	case e.Release != "":
		e.Kind, e.ManagedBy = ExporterHelm, "Helm"
	default:
		e.Kind = ExporterOther
	}
	switch {
	case label("argocd.argoproj.io/instance") != "" || meta.Annotations["argocd.argoproj.io/tracking-id"] != "":
		e.ManagedBy = "Argo CD"
	case label("helm.toolkit.fluxcd.io/name") != "" || label("kustomize.toolkit.fluxcd.io/name") != "":
		e.ManagedBy = "Flux"
	}
}

// allows tells whether the exporter's node selector lets it onto a node.
func (e *Exporter) allows(labels map[string]string) bool {
	for key, value := range e.NodeSelector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// untolerated lists the taints that keep the exporter away.
func (e *Exporter) untolerated(taints []corev1.Taint) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(taints), func(t corev1.Taint) bool {
		return slices.ContainsFunc(e.Tolerations, func(o corev1.Toleration) bool { return tolerates(o, t) })
	})
}

// tolerates is the scheduler's rule.
func tolerates(o corev1.Toleration, t corev1.Taint) bool {
	if o.Effect != "" && o.Effect != t.Effect || o.Key != "" && o.Key != t.Key {
		return false
	}
	switch o.Operator {
	case "", corev1.TolerationOpEqual:
		return o.Value == t.Value
	case corev1.TolerationOpExists:
		return true
	}
	return false
}

// exporterPodOf reads a pod's state.
func exporterPodOf(p *corev1.Pod, exporter string) ExporterPod {
	e := ExporterPod{Exporter: exporter, Namespace: p.Namespace, Name: p.Name, Node: p.Spec.NodeName}
	if p.DeletionTimestamp != nil {
		e.Reason = "terminating"
		return e
	}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue:
			e.Ready = true
			return e
		case c.Status == corev1.ConditionFalse && (c.Type == corev1.PodScheduled || e.Reason == ""):
			e.Reason = firstOf(c.Reason, c.Message)
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := c.State.Waiting; w != nil && w.Reason != "PodInitializing" && w.Reason != "ContainerCreating" {
			e.Reason = w.Reason
		}
	}
	return e
}

func sortExporterPods(pods []ExporterPod) {
	slices.SortStableFunc(pods, func(a, b ExporterPod) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
