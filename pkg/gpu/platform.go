package gpu

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Platform is who runs the control plane.
type Platform string

const (
	PlatformGeneric Platform = "generic"
	PlatformGKE     Platform = "gke"
	PlatformEKS     Platform = "eks"
	PlatformAKS     Platform = "aks"
)

// platformOf goes by what a managed cluster alone puts on its nodes; a machine
// of that cloud may as well belong to a cluster that somebody runs on it.
func platformOf(n *corev1.Node) Platform {
	version := n.Status.NodeInfo.KubeletVersion
	has := func(prefixes ...string) bool {
		for key := range n.Labels {
			for _, p := range prefixes {
				if strings.HasPrefix(key, p) {
					return true
				}
			}
		}
		return false
	}
	switch {
	case strings.Contains(version, "-gke."), has("cloud.google.com/gke-"):
		return PlatformGKE
	case strings.Contains(version, "-eks-"), has("eks.amazonaws.com/", "alpha.eksctl.io/"):
		return PlatformEKS
	case strings.HasPrefix(n.Spec.ProviderID, "azure://") && has("kubernetes.azure.com/"):
		return PlatformAKS
	}
	return PlatformGeneric
}
