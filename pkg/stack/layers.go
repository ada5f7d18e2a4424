package stack

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubectl-triton/kubectl-triton/assets"
)

// prometheusLayers are the values for kube-prometheus-stack, the least
// important first.
func (w Wish) prometheusLayers(existing Values) ([]Values, error) {
	profile, err := assets.Profile(w.Profile)
	if err != nil {
		return nil, err
	}
	sources := []layer{
		{"assets/prometheus-values.yaml", assets.PrometheusValues()},
		{"assets/profiles/" + w.Profile + ".yaml", profile},
	}
	if slices.Contains(assets.Platforms(), w.Platform) {
		platform, err := assets.Platform(w.Platform)
		if err != nil {
			return nil, err
		}
		sources = append(sources, layer{"assets/platforms/" + w.Platform + ".yaml", platform})
	}
	layers, err := parseLayers(sources...)
	if err != nil {
		return nil, err
	}
	return append(layers, existing, w.PrometheusValues), nil
}

// exporterLayers are the values for dcgm-exporter. A nil admission leaves the
// chart's own ServiceMonitor out.
func (w Wish) exporterLayers(admission *Admission, existing Values) ([]Values, error) {
	layers, err := parseLayers(layer{"assets/dcgm-values.yaml", assets.DCGMValues()})
	if err != nil {
		return nil, err
	}
	// Merged maps would keep the assets' label. A null over it would reach the
	// manifest, where it means the empty text.
	delete(layers[0], "nodeSelector")
	placement, err := w.Placement.values()
	if err != nil {
		return nil, err
	}
	own := Values{
		"arguments": []any{"-f", "/etc/dcgm-exporter/default-counters.csv", fmt.Sprintf("--collect-interval=%d", w.CollectInterval/time.Millisecond)},
	}
	monitor := map[string]any{"enabled": admission != nil, "interval": promDuration(w.ScrapeInterval), "scrapeTimeout": promDuration(w.ScrapeInterval)}
	if admission != nil {
		monitor["additionalLabels"] = anyMap(without(admission.Labels, ManagedByLabel, PartOfLabel))
	}
	own["serviceMonitor"] = monitor
	return append(layers, placement, own, existing, w.ExporterValues), nil
}

// values are the chart's keys for a placement. What the assets say for use by
// hand gives way to what the nodes really have.
func (p Placement) values() (Values, error) {
	v := Values{"tolerations": []any{}, "nodeSelector": anyMap(p.NodeSelector)}
	var err error
	var tolerations []any
	for i := range p.Tolerations {
		t, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&p.Tolerations[i])
		if err != nil {
			return nil, fmt.Errorf("a toleration can't be written as values: %w", err)
		}
		tolerations = append(tolerations, t)
	}
	if tolerations != nil {
		v["tolerations"] = tolerations
	}
	if p.Affinity != nil {
		if v["affinity"], err = runtime.DefaultUnstructuredConverter.ToUnstructured(p.Affinity); err != nil {
			return nil, fmt.Errorf("an affinity can't be written as values: %w", err)
		}
	}
	if p.RuntimeClass != "" {
		v["runtimeClassName"] = p.RuntimeClass
	}
	return v, nil
}

type layer struct {
	name string
	data []byte
}

func parseLayers(sources ...layer) ([]Values, error) {
	var layers []Values
	for _, s := range sources {
		values, err := ParseValues(s.data, s.name)
		if err != nil {
			return nil, err
		}
		layers = append(layers, values)
	}
	return layers, nil
}

func without(m map[string]string, keys ...string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	for _, k := range keys {
		delete(out, k)
	}
	return out
}
