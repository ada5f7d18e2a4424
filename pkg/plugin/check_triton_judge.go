package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// edit shows the pod's flags; what to change them in depends on who made it.
func (a *tritonAnswer) edit() string {
	return fmt.Sprintf("kubectl get pod --namespace %s %s -o yaml", a.pod.Namespace, a.pod.Name)
}

func (a *tritonAnswer) name() string { return a.service.Namespace + "/" + a.service.Name }

func (a *tritonAnswer) serverReady() []check.Finding {
	if a.notReady == nil {
		return nil
	}
	return []check.Finding{{
		What: fmt.Sprintf("the server in pod %s is not ready", a.pod.Name), Why: "one that loads a model, or failed to load any, is not: see the models below",
		Command: fmt.Sprintf("kubectl logs --namespace %s %s --tail 20", a.pod.Namespace, a.pod.Name),
	}}
}

func (a *tritonAnswer) modelsReady() []check.Finding {
	var findings []check.Finding
	if len(a.models) == 0 {
		return []check.Finding{{What: fmt.Sprintf("Triton %s has no model", a.name()), Why: "its model repository is empty or not mounted", Command: a.edit(), Level: check.Warning}}
	}
	ready := slices.ContainsFunc(a.models, triton.ModelIndex.Ready)
	for _, m := range a.models {
		if m.Ready() || m.State == "" || m.State == "UNAVAILABLE" && (m.Reason == "" || m.Reason == "unloaded") {
			continue // never loaded, or unloaded by somebody
		}
		findings = append(findings, check.Finding{
			What: fmt.Sprintf("model %s version %s in pod %s is %s", m.Name, cmp.Or(m.Version, "?"), a.pod.Name, m.State), Why: m.Reason,
			Command: fmt.Sprintf("kubectl logs --namespace %s %s --tail 50", a.pod.Namespace, a.pod.Name),
		})
	}
	if !ready && len(findings) == 0 {
		findings = append(findings, check.Finding{What: fmt.Sprintf("no model of Triton %s is loaded", a.name()), Why: "with --model-control-mode=explicit each has to be loaded by somebody", Command: "kubectl triton models", Level: check.Warning})
	}
	return findings
}

func modelsDetail(all []tritonAnswer) string {
	var names []string
	for _, a := range all {
		for _, c := range a.configs {
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	slices.Sort(names)
	return some(names)
}

func (a *tritonAnswer) metricsOn() []check.Finding {
	switch {
	case a.target == nil:
		return []check.Finding{{What: a.note, Why: "without metrics there is neither history nor alert", Command: a.edit()}}
	case a.metricsErr != nil:
		return []check.Finding{{
			What: fmt.Sprintf("the metrics of pod %s, port %d, can't be read: %v", a.pod.Name, a.target.Port, a.metricsErr),
			Why:  "Triton serves them elsewhere (--metrics-port) or not at all (--allow-metrics)", Command: a.edit(),
		}}
	case !a.target.Declared:
		return []check.Finding{{
			What: fmt.Sprintf("the container of Triton %s does not declare its metrics port %d", a.name(), a.target.Port),
			Why:  "a PodMonitor by port name can't find it; the one that 'observe up' makes does", Command: "kubectl triton observe up", Level: check.Warning,
		}}
	}
	return nil
}

func (a *tritonAnswer) has(prefix, suffix string) bool {
	return slices.ContainsFunc(a.families, func(name string) bool {
		return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix)
	})
}

func (a *tritonAnswer) percentiles() []check.Finding {
	if a.target == nil || a.metricsErr != nil || len(a.configs) == 0 {
		return nil // without a model there is no series to tell by
	}
	if a.has("nv_inference_", "_summary_us") || a.has("nv_inference_first_response_histogram_ms", "") {
		return nil
	}
	return []check.Finding{{
		What:    fmt.Sprintf("Triton %s publishes averages of its latencies only", a.name()),
		Why:     "percentiles need the flag --metrics-config summary_latencies=true, or histogram_latencies=true, which can be added up over pods; 'bench' measures its own",
		Command: a.edit(),
	}}
}

func (a *tritonAnswer) responseCache() []check.Finding {
	var wish []string
	for _, c := range a.configs {
		if c.ResponseCache.Enable {
			wish = append(wish, c.Name)
		}
	}
	if len(wish) == 0 || a.container == nil {
		return nil
	}
	has := slices.ContainsFunc(shellWords(a.container), func(w string) bool {
		return strings.HasPrefix(w, "--cache-config") || strings.HasPrefix(w, "--response-cache-byte-size")
	})
	if has {
		return nil
	}
	return []check.Finding{{
		What: fmt.Sprintf("%s of Triton %s asks for the response cache, and the server has none", counted(len(wish), "model", "models")+" ("+some(wish)+")", a.name()),
		Why:  "the server needs --cache-config local,size=<bytes>; without it every request runs", Command: a.edit(),
	}}
}

// heldGPUs is how many GPUs the pod asks for.
func (a *tritonAnswer) heldGPUs() int {
	held := int64(0)
	for _, c := range a.pod.Spec.Containers {
		if q, ok := c.Resources.Limits["nvidia.com/gpu"]; ok {
			held += q.Value()
		}
	}
	return int(held)
}

func (a *tritonAnswer) gpusUsed() []check.Finding {
	held := a.heldGPUs()
	if held == 0 || len(a.configs) == 0 || a.unread > 0 {
		return nil // a model that was not read may use the others
	}
	used := map[int]bool{}
	var onCPU []string
	for _, c := range a.configs {
		cpu := len(c.InstanceGroup) > 0
		for _, g := range c.InstanceGroup {
			if g.Kind == "KIND_CPU" {
				continue
			}
			cpu = false
			for _, index := range g.GPUs {
				used[index] = true
			}
			if len(g.GPUs) == 0 { // every GPU that the server sees
				for i := range held {
					used[i] = true
				}
			}
		}
		if cpu {
			onCPU = append(onCPU, c.Name)
		}
	}
	if len(used) >= held {
		return nil
	}
	why := "their instance groups name other GPUs; one without a list of gpus runs on each"
	if len(onCPU) == len(a.configs) {
		why = "all of them run on the CPU (KIND_CPU)"
	} else if len(used) == 0 {
		why = "none of them has an instance on a GPU"
	}
	return []check.Finding{{
		What: fmt.Sprintf("a pod of Triton %s holds %s, and its models use %d", a.name(), counted(held, "GPU", "GPUs"), len(used)), Why: why,
		Command: fmt.Sprintf("kubectl triton models --namespace %s --service %s", a.service.Namespace, a.service.Name),
	}}
}

func (a *tritonAnswer) batching() []check.Finding {
	var without []string
	for _, c := range a.configs {
		if c.MaxBatchSize > 1 && c.DynamicBatching == nil && c.SequenceBatching == nil && c.EnsembleScheduling == nil && !c.ModelTransactionPolicy.Decoupled {
			without = append(without, c.Name)
		}
	}
	if len(without) == 0 {
		return nil
	}
	slices.Sort(without)
	return []check.Finding{{
		What:    fmt.Sprintf("%s batches in Triton %s, but requests are not joined: %s", counted(len(without), "model takes", "models take"), a.name(), some(without)),
		Why:     "without dynamic_batching in config.pbtxt each request runs alone, however full the queue is; add 'dynamic_batching { }' there and load the model again, unless the clients batch",
		Command: fmt.Sprintf("kubectl triton models --namespace %s --service %s %s", a.service.Namespace, a.service.Name, without[0]),
	}}
}
