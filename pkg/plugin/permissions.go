package plugin

import "slices"

// askForRole is what to try next when the API server denies something.
const askForRole = "ask for a Role that grants it, and see what is granted with 'kubectl auth can-i --list'"

// permission is one thing that a command has to be allowed to do.
type permission struct {
	group, resource, namespace string // namespace "" is the whole cluster
	verbs                      []string
	what                       string   // completes "to …"
	names                      []string // objects that it is limited to; none for all
}

// grant is what one command needs, as "check" asks for it and docs/rbac has it.
type grant struct {
	file    string   // in docs/rbac, without its suffix
	command []string // those that it is enough for, without "kubectl triton"
	needed  []permission
	further []permission // what it can do without, or needs for some flags only
	name    string       // of the further role: what it is for
}

// grants are those of all commands, for a Triton and a stack in the namespaces.
func grants(triton, monitoring string) []grant {
	return []grant{
		{"bench", []string{"bench"}, benchPermissions(triton), append(watchPods(triton), benchFurther(monitoring)...), "observability"},
		{"models", []string{"models", "models list", "models load", "models unload"}, modelsPermissions(triton), watchPods(triton), "watch"},
		{"version", []string{"version"}, nil, modelsPermissions(triton), "triton"},
		{"nodes", []string{"nodes"}, nodesPermissions(), nodesFurther(monitoring), "utilization"},
		{"nodes-label", []string{"nodes label"}, nodesLabelPermissions(), nodesPermissions()[1:], "survey"},
		{"check", []string{"check"}, nil, checkPermissions(triton, monitoring), "everything"},
		{"dashboards", []string{"dashboards list", "dashboards export", "dashboards import"}, dashboardsPermissions(monitoring), watchPods(monitoring), "watch"},
		{"observe-up", []string{"observe up"}, upPermissions(monitoring), upFurther(monitoring), "charts"},
		{"observe-status", []string{"observe status"}, statusPermissions(monitoring), statusFurther(monitoring), "everything"},
		{"observe-open", []string{"observe open"}, openPermissions(monitoring), watchPods(monitoring), "watch"},
		{"observe-render", []string{"observe render"}, renderPermissions(monitoring), gpuFurther(), "gpu"},
		{"observe-down", []string{"observe down"}, downPermissions(monitoring), downFurther(monitoring), "charts"},
		{"observe-down-purge", []string{"observe down --purge"}, purgePermissions(monitoring), downFurther(monitoring), "charts"},
	}
}

// grafanaSecret is the Secret with the login of the stack's Grafana.
func grafanaSecretName() string { return "prom-operator-grafana" }

// benchPermissions are what "bench" can't do without; what it reads besides,
// such as Grafana's login, it says itself when that is missing.
func benchPermissions(namespace string) []permission {
	return []permission{
		{"", "services", namespace, []string{"get"}, "find Triton", nil},
		{"", "pods", namespace, []string{"list"}, "choose a ready pod", nil},
		{"", "pods/portforward", namespace, []string{"create"}, "reach Triton", nil},
	}
}

func benchFurther(namespace string) []permission {
	return []permission{
		{"", "services", namespace, []string{"get", "list"}, "find Prometheus and Grafana", nil},
		{"", "pods", namespace, []string{"get", "list", "watch"}, "reach Prometheus, Grafana and the GPU exporters", nil},
		{"", "pods/portforward", namespace, []string{"create"}, "reach Prometheus, Grafana and the GPU exporters", nil},
		{"", "secrets", namespace, []string{"get"}, "read Grafana's login, to mark the test there", []string{grafanaSecretName()}},
	}
}

func modelsPermissions(namespace string) []permission {
	return []permission{
		{"", "services", namespace, []string{"get"}, "find Triton", nil},
		{"", "pods", namespace, []string{"list"}, "choose the running pods", nil},
		{"", "pods/portforward", namespace, []string{"create"}, "reach Triton", nil},
	}
}

// watchPods lets a tunnel see at once that its pod is going, and find another.
func watchPods(namespace string) []permission {
	return []permission{
		{"", "services", namespace, []string{"get"}, "find another pod when one goes", nil},
		{"", "pods", namespace, []string{"get", "watch"}, "see at once when a pod goes", nil},
	}
}

// nodesPermissions are what "nodes" shows everything with.
func nodesPermissions() []permission {
	return []permission{
		{"", "nodes", "", []string{"list"}, "find the GPU nodes", nil},
		{"", "pods", "", []string{"list"}, "see who holds GPUs", nil},
		{"apps", "daemonsets", "", []string{"list"}, "find the exporters", nil},
		{"node.k8s.io", "runtimeclasses", "", []string{"get"}, "look for RuntimeClass nvidia", nil},
		{"resource.k8s.io", "resourceslices", "", []string{"list"}, "see GPUs of the DRA driver", nil},
	}
}

func nodesFurther(namespace string) []permission {
	return []permission{
		{"resource.k8s.io", "resourceclaims", "", []string{"list"}, "see who holds GPUs of the DRA driver", nil},
		{"", "services", namespace, []string{"get", "list"}, "find Prometheus", nil},
		{"", "pods", namespace, []string{"get", "list", "watch"}, "choose a ready pod of Prometheus", nil},
		{"", "pods/portforward", namespace, []string{"create"}, "ask Prometheus for the utilisation", nil},
	}
}

func nodesLabelPermissions() []permission {
	return []permission{{"", "nodes", "", []string{"list", "patch"}, "find the GPU nodes and label them", nil}}
}

// checkPermissions are what "check" asks everything with; what is denied, it
// names and skips.
func checkPermissions(triton, monitoring string) []permission {
	p := append(nodesPermissions(),
		permission{"resource.k8s.io", "resourceclaims", "", []string{"list"}, "see who holds GPUs of the DRA driver", nil},
		permission{"", "services", "", []string{"list"}, "find Triton, Prometheus and Grafana", nil},
		permission{"", "namespaces", "", []string{"list"}, "see which namespaces a Prometheus selects", nil},
		permission{"monitoring.coreos.com", "prometheuses", "", []string{"list"}, "find the Prometheus", nil},
		permission{"monitoring.coreos.com", "podmonitors", "", []string{"list"}, "see what it scrapes", nil},
		permission{"monitoring.coreos.com", "servicemonitors", "", []string{"list"}, "see what it scrapes", nil},
		permission{"", "secrets", monitoring, []string{"get"}, "read Grafana's login", []string{grafanaSecretName()}},
	)
	for _, namespace := range []string{triton, monitoring} {
		p = append(p,
			permission{"", "pods", namespace, []string{"get", "watch"}, "choose ready pods", nil},
			permission{"", "pods/portforward", namespace, []string{"create"}, "ask them", nil})
	}
	return p
}

// surveyPermissions are what every look at the stack begins with.
func surveyPermissions(namespace string) []permission {
	return []permission{
		{"", "namespaces", "", []string{"get", "list"}, "see the stack's namespace and what a Prometheus selects", nil},
		{"", "nodes", "", []string{"list"}, "find the GPU nodes", nil},
		{"", "pods", "", []string{"list"}, "find Triton, the exporters and the stack's pods", nil},
		{"", "services", "", []string{"list"}, "find Triton, Prometheus and Grafana", nil},
		{"apps", "daemonsets", "", []string{"list"}, "find exporters that are there already", nil},
		{"monitoring.coreos.com", "prometheuses", "", []string{"list"}, "find a Prometheus that is there already", nil},
		{"monitoring.coreos.com", "podmonitors", "", []string{"list"}, "see what is scraped already", nil},
		{"monitoring.coreos.com", "servicemonitors", "", []string{"list"}, "see what is scraped already", nil},
		{"monitoring.coreos.com", "prometheusrules", "", []string{"list"}, "find the rules of an earlier run", nil},
		{"", "configmaps", "", []string{"list"}, "find the dashboards of an earlier run", nil},
		{"", "secrets", namespace, []string{"get", "list"}, "read Helm's records", nil},
	}
}

// upPermissions are what "observe up" needs whatever it finds, and asks for
// before it changes anything; a chart's own objects need more.
func upPermissions(namespace string) []permission {
	all := []string{"get", "create", "patch", "delete"}
	return append(surveyPermissions(namespace), []permission{
		{"", "secrets", namespace, []string{"create", "update", "delete"}, "keep Helm's records", nil},
		{"coordination.k8s.io", "leases", namespace, []string{"get", "create", "update", "delete"}, "keep two installations apart", nil},
		{"apiextensions.k8s.io", "customresourcedefinitions", "", []string{"get", "create", "patch"}, "install prometheus-operator's kinds", nil},
		{"rbac.authorization.k8s.io", "clusterroles", "", all, "let Prometheus discover its targets", nil},
		{"rbac.authorization.k8s.io", "clusterrolebindings", "", all, "let Prometheus discover its targets", nil},
		{"monitoring.coreos.com", "prometheuses", namespace, all, "make the Prometheus", nil},
		{"monitoring.coreos.com", "podmonitors", namespace, all, "make Prometheus scrape Triton", nil},
		{"monitoring.coreos.com", "servicemonitors", namespace, all, "make Prometheus scrape the GPUs", nil},
		{"monitoring.coreos.com", "prometheusrules", namespace, all, "install rules and alerts", nil},
		{"", "configmaps", namespace, all, "install the dashboards", nil},
		{"", "services", namespace, []string{"get", "list", "create", "patch", "delete"}, "make the stack's Services", nil},
		{"", "serviceaccounts", namespace, all, "make the stack's ServiceAccounts", nil},
		{"apps", "deployments", namespace, []string{"get", "list", "create", "patch", "delete"}, "run Grafana and the operator", nil},
		{"apps", "daemonsets", namespace, all, "run dcgm-exporter", nil},
		{"apps", "statefulsets", namespace, []string{"list"}, "see whether Prometheus starts", nil},
		{"", "pods", namespace, []string{"get", "list"}, "see whether the stack starts", nil},
		{"", "pods/portforward", namespace, []string{"create"}, "prove that Prometheus and Grafana answer", nil},
	}...)
}

// upFurther are what the charts' objects need that not every installation has.
func upFurther(namespace string) []permission {
	all := []string{"get", "create", "patch", "delete"}
	return []permission{
		{"rbac.authorization.k8s.io", "clusterroles", "", []string{"escalate", "bind"}, "give the operator, Prometheus and Grafana rights that you don't have", nil},
		{"rbac.authorization.k8s.io", "roles", namespace, []string{"get", "create", "patch", "delete", "escalate", "bind"}, "let dcgm-exporter read its own ConfigMap", nil},
		{"rbac.authorization.k8s.io", "rolebindings", namespace, all, "let dcgm-exporter read its own ConfigMap", nil},
		{"monitoring.coreos.com", "alertmanagers", namespace, all, "make the Alertmanager", nil},
		{"", "services", "kube-system", all, "let Prometheus find the control plane", nil},
		{"", "persistentvolumeclaims", namespace, all, "give Grafana a volume, with --profile full", nil},
		{"node.k8s.io", "runtimeclasses", "", []string{"get"}, "look for RuntimeClass nvidia", nil},
		{"resource.k8s.io", "resourceslices", "", []string{"list"}, "see GPUs of the DRA driver", nil},
		{"", "secrets", namespace, []string{"patch"}, "compare Secrets with what would be installed", nil},
		{"", "events", namespace, []string{"list"}, "say why a pod doesn't start", nil},
		{"", "pods", namespace, []string{"watch"}, "see at once when a pod goes", nil},
	}
}

// gpuFurther is what only some clusters' GPU nodes show.
func gpuFurther() []permission {
	return []permission{
		{"node.k8s.io", "runtimeclasses", "", []string{"get"}, "look for RuntimeClass nvidia", nil},
		{"resource.k8s.io", "resourceslices", "", []string{"list"}, "see GPUs of the DRA driver", nil},
	}
}

// statusPermissions are what "observe status" can't do without.
func statusPermissions(namespace string) []permission {
	return append(surveyPermissions(namespace),
		permission{"apps", "deployments", namespace, []string{"list"}, "see whether the stack runs", nil},
		permission{"apps", "statefulsets", namespace, []string{"list"}, "see whether the stack runs", nil},
		permission{"", "pods/portforward", namespace, []string{"create"}, "ask Prometheus and Grafana", nil},
	)
}

func statusFurther(namespace string) []permission {
	return slices.Concat(gpuFurther(), watchPods(namespace),
		[]permission{{"", "events", namespace, []string{"list"}, "say why a pod doesn't start", nil}})
}

// openPermissions are what "observe open" needs for Grafana.
func openPermissions(namespace string) []permission {
	return []permission{
		{"", "services", namespace, []string{"get", "list"}, "find Grafana", nil},
		{"", "secrets", namespace, []string{"get"}, "read Grafana's login", []string{grafanaSecretName()}},
		{"", "pods", namespace, []string{"list"}, "choose a ready pod", nil},
		{"", "pods/portforward", namespace, []string{"create"}, "reach Grafana", nil},
	}
}

// dashboardsPermissions are what a Grafana's dashboards are read and stored with.
func dashboardsPermissions(namespace string) []permission {
	return []permission{
		{"", "services", namespace, []string{"list"}, "find Grafana", nil},
		{"", "secrets", namespace, []string{"get"}, "read Grafana's login", []string{grafanaSecretName()}},
		{"", "pods", namespace, []string{"list"}, "choose a ready pod", nil},
		{"", "pods/portforward", namespace, []string{"create"}, "reach Grafana", nil},
	}
}

// renderPermissions are what "observe render" reads: the objects that are there
// are compared with those that would be.
func renderPermissions(namespace string) []permission {
	return append(surveyPermissions(namespace),
		permission{"apiextensions.k8s.io", "customresourcedefinitions", "", []string{"get"}, "see which of prometheus-operator's kinds are there", nil})
}

// downPermissions are what "observe down" needs whatever it finds.
func downPermissions(namespace string) []permission {
	return []permission{
		{"", "namespaces", "", []string{"get"}, "see whose the stack's namespace is", nil},
		{"", "secrets", namespace, []string{"list", "get", "update", "delete"}, "read and delete Helm's records", nil},
		{"", "configmaps", "", []string{"list"}, "find the dashboards", nil},
		{"", "configmaps", namespace, []string{"delete"}, "delete the dashboards", nil},
		{"monitoring.coreos.com", "podmonitors", "", []string{"list"}, "find the monitors", nil},
		{"monitoring.coreos.com", "podmonitors", namespace, []string{"delete"}, "delete the monitors", nil},
		{"apiextensions.k8s.io", "customresourcedefinitions", "", []string{"list"}, "say which kinds stay", nil},
		{"coordination.k8s.io", "leases", namespace, []string{"get", "create", "update", "delete"}, "keep two operations apart", nil},
		{"", "pods", namespace, []string{"list"}, "see whether everything has ended", nil},
		{"apps", "deployments", namespace, []string{"delete"}, "delete Grafana and the operator", nil},
		{"rbac.authorization.k8s.io", "clusterroles", "", []string{"delete"}, "delete the releases' roles", nil},
		{"rbac.authorization.k8s.io", "clusterrolebindings", "", []string{"delete"}, "delete the releases' roles", nil},
	}
}

// purgePermissions are what "observe down --purge" needs whatever it finds.
func purgePermissions(namespace string) []permission {
	return append(downPermissions(namespace), []permission{
		{"apiextensions.k8s.io", "customresourcedefinitions", "", []string{"get", "delete"}, "delete prometheus-operator's kinds", nil},
		{"", "persistentvolumeclaims", namespace, []string{"get", "delete"}, "delete the volume claims", nil},
		{"", "services", "kube-system", []string{"get", "delete"}, "delete the kubelets' Service", nil},
	}...)
}

// downFurther are what the charts' objects need.
func downFurther(namespace string) []permission {
	return []permission{
		{"", "persistentvolumeclaims", namespace, []string{"list", "delete"}, "find volumes, delete Grafana's", nil},
		{"apps", "daemonsets", namespace, []string{"delete"}, "delete dcgm-exporter", nil},
		{"apps", "statefulsets", namespace, []string{"list", "delete"}, "end Prometheus where the operator has gone first", nil},
		{"", "services", namespace, []string{"delete"}, "delete the stack's Services", nil},
		{"", "serviceaccounts", namespace, []string{"delete"}, "delete the stack's ServiceAccounts", nil},
		{"monitoring.coreos.com", "prometheuses", namespace, []string{"delete"}, "delete the Prometheus", nil},
		{"monitoring.coreos.com", "alertmanagers", namespace, []string{"delete"}, "delete the Alertmanager", nil},
		{"monitoring.coreos.com", "servicemonitors", namespace, []string{"delete"}, "delete the monitors", nil},
		{"monitoring.coreos.com", "prometheusrules", namespace, []string{"delete"}, "delete the rules", nil},
		{"monitoring.coreos.com", "*", "", []string{"list"}, "count the objects that a CRD holds", nil},
		{"rbac.authorization.k8s.io", "roles", namespace, []string{"delete"}, "delete dcgm-exporter's Role", nil},
		{"rbac.authorization.k8s.io", "rolebindings", namespace, []string{"delete"}, "delete dcgm-exporter's Role", nil},
		{"", "services", "kube-system", []string{"get", "delete"}, "delete the control plane's Services", nil},
		{"rbac.authorization.k8s.io", "clusterroles", "", []string{"list"}, "find what is left of a release whose record is lost", nil},
		{"rbac.authorization.k8s.io", "clusterrolebindings", "", []string{"list"}, "find what is left of a release whose record is lost", nil},
		{"admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", []string{"list", "delete"}, "find what is left of a release whose record is lost", nil},
		{"admissionregistration.k8s.io", "validatingwebhookconfigurations", "", []string{"list", "delete"}, "find what is left of a release whose record is lost", nil},
		{"", "services", "", []string{"list"}, "find what is left of a release whose record is lost", nil},
	}
}
