package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// rendering is a chart with values, as manifests.
type rendering struct {
	objects []*unstructured.Unstructured // in the order of installation, with their namespaces
	hooks   []*unstructured.Unstructured
}

// render fills the templates in as an installation in the cluster would; they
// may look objects up there.
func (r *Releases) render(ctx context.Context, p *Package, values Values, name string, upgrade bool) (*rendering, error) {
	chart, err := p.helmChart()
	if err != nil {
		return nil, err
	}
	capabilities, err := within(ctx, r.capabilities)
	if err != nil {
		return nil, err
	}
	if v := chart.Metadata.KubeVersion; v != "" && !chartutil.IsCompatibleRange(v, capabilities.KubeVersion.Version) {
		return nil, fmt.Errorf("the chart %s %s needs Kubernetes %s, and the cluster has %s", p.Chart.Name, p.Chart.Version, v, capabilities.KubeVersion.Version)
	}
	vals := map[string]any(Merge(values))
	if err := chartutil.ProcessDependenciesWithMerge(chart, vals); err != nil {
		return nil, fmt.Errorf("the values don't fit the chart %s: %w", p.Chart.Name, err)
	}
	options := chartutil.ReleaseOptions{Name: name, Namespace: r.namespace, Revision: 1, IsInstall: !upgrade, IsUpgrade: upgrade}
	render, err := chartutil.ToRenderValues(chart, vals, options, capabilities)
	if err != nil {
		return nil, fmt.Errorf("the values don't fit the chart %s: %w", p.Chart.Name, err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	files, err := engine.New(r.client.rest).Render(chart, render)
	if err != nil {
		return nil, fmt.Errorf("the chart %s can't be rendered with these values: %w", p.Chart.Name, err)
	}
	for name := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			delete(files, name)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, fmt.Errorf("the chart %s gives manifests that can't be read with these values: %w", p.Chart.Name, err)
	}
	out := &rendering{}
	for _, m := range manifests {
		objects, err := r.client.decode(m.Content, r.namespace)
		if err != nil {
			return nil, fmt.Errorf("the manifest %s: %w", m.Name, err)
		}
		out.objects = append(out.objects, objects...)
	}
	for _, h := range hooks {
		objects, err := r.client.decode(h.Manifest, r.namespace)
		if err != nil {
			return nil, fmt.Errorf("the hook %s: %w", h.Path, err)
		}
		out.hooks = append(out.hooks, objects...)
	}
	return out, nil
}

// capabilities are the cluster's version and kinds, those of the stack's CRDs
// included even before they are there.
func (r *Releases) capabilities() (*chartutil.Capabilities, error) {
	version, err := r.client.discovery.ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("could not ask the API server for its version: %w", err)
	}
	kinds, err := action.GetVersionSet(r.client.discovery)
	if err != nil {
		return nil, fmt.Errorf("could not ask the API server for the kinds that it has: %w", err)
	}
	for _, kind := range []string{"Prometheus", "ServiceMonitor", "PodMonitor", "PrometheusRule", "Alertmanager"} {
		kinds = append(kinds, monitoringGroup+"/v1/"+kind)
	}
	kinds = append(kinds, monitoringGroup+"/v1")
	return &chartutil.Capabilities{
		APIVersions: kinds,
		KubeVersion: chartutil.KubeVersion{Version: version.GitVersion, Major: version.Major, Minor: version.Minor},
		HelmVersion: chartutil.DefaultCapabilities.HelmVersion,
	}, nil
}

// decode reads manifests; objects of namespaced kinds that name no namespace
// are in the given one.
func (c *Client) decode(manifests, namespace string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(manifests), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("not valid YAML: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		if o.IsList() {
			list, err := o.ToList()
			if err != nil {
				return nil, fmt.Errorf("not a valid list: %w", err)
			}
			for i := range list.Items {
				objects = append(objects, c.settle(&list.Items[i], namespace))
			}
			continue
		}
		objects = append(objects, c.settle(o, namespace))
	}
}

func (c *Client) settle(o *unstructured.Unstructured, namespace string) *unstructured.Unstructured {
	if o.GetNamespace() != "" {
		return o
	}
	// A kind that the cluster doesn't know yet is one of the stack's CRDs, all
	// of which are namespaced.
	if namespaced, err := c.namespaced(RefOf(o)); err != nil || namespaced {
		o.SetNamespace(namespace)
	}
	return o
}
