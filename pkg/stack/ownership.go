package stack

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	helmReleaseName      = "meta.helm.sh/release-name"
	helmReleaseNamespace = "meta.helm.sh/release-namespace"
)

// Owner is who made an object and would undo changes to it.
type Owner struct {
	// Tool is "Helm", "Argo CD", "Flux", "GitOps" (one that isn't known),
	// "kubectl-triton", or empty.
	Tool      string `json:"tool,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// GitOps says that a controller keeps the object as a repository has it:
// changes made by hand don't last.
func (o Owner) GitOps() bool { return o.Tool == "Argo CD" || o.Tool == "Flux" || o.Tool == "GitOps" }

func (o Owner) String() string {
	switch {
	case o.Tool == "":
		return "nobody known"
	case o.Name == "":
		return o.Tool
	case o.Tool == "Helm":
		return fmt.Sprintf("Helm release %s/%s", o.Namespace, o.Name)
	}
	return fmt.Sprintf("%s (%s)", o.Tool, o.Name)
}

// OwnerOf reads the marks that the tools leave on what they make. Argo CD and
// Flux come before Helm: they use its charts.
func OwnerOf(o *unstructured.Unstructured) Owner {
	if owner := gitOpsOf(o); owner.Tool != "" {
		return owner
	}
	if release := helmRelease(o); release.Tool != "" {
		return release
	}
	switch o.GetLabels()[ManagedByLabel] {
	case ManagedBy:
		return Owner{Tool: ManagedBy}
	case "Helm":
		// A chart's object without Helm's record of a release: rendered and
		// applied by something else, as Argo CD does.
		return Owner{Tool: "GitOps"}
	}
	return Owner{}
}

// gitOpsOf reads the marks of Argo CD and Flux alone.
func gitOpsOf(o *unstructured.Unstructured) Owner {
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	for _, mark := range []struct{ tool, value, namespace string }{
		{"Argo CD", annotations["argocd.argoproj.io/tracking-id"], ""},
		{"Argo CD", labels["argocd.argoproj.io/instance"], ""},
		{"Flux", labels["helm.toolkit.fluxcd.io/name"], labels["helm.toolkit.fluxcd.io/namespace"]},
		{"Flux", labels["kustomize.toolkit.fluxcd.io/name"], labels["kustomize.toolkit.fluxcd.io/namespace"]},
	} {
		if mark.value != "" {
			return Owner{Tool: mark.tool, Name: mark.value, Namespace: mark.namespace}
		}
	}
	return Owner{}
}

// helmRelease is the release that an object belongs to; nothing when to none.
func helmRelease(o *unstructured.Unstructured) Owner {
	annotations := o.GetAnnotations()
	if annotations[helmReleaseName] == "" {
		return Owner{}
	}
	return Owner{Tool: "Helm", Name: annotations[helmReleaseName], Namespace: annotations[helmReleaseNamespace]}
}
