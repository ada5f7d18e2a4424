package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/kubectl-triton/kubectl-triton/sandbox/node"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/modelconfig"
)

//go:embed manifests
var manifests embed.FS

const (
	fieldManager        = "sandbox"
	tritonNamespace     = "triton"
	monitoringNamespace = "monitoring"
	modelsConfigMap     = "triton-models"
	applyRetry          = 100 * time.Millisecond
)

// workloads are what the instance runs on its nodes.
type workloads struct {
	options Options
	client  kubernetes.Interface
	dynamic dynamic.Interface
	mapper  meta.RESTMapper
	network *node.Network
}

func newWorkloads(config *rest.Config, options Options, network *node.Network) (*workloads, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of the API server: %w", err)
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of the API server: %w", err)
	}
	discoveryClient, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of the API server: %w", err)
	}
	return &workloads{
		options: options, client: client, dynamic: dynamicClient, network: network,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discoveryClient)),
	}, nil
}

// apply creates all objects, in the order of the manifests.
func (w *workloads) apply(ctx context.Context) error {
	models, err := readModels(w.options.Models)
	if err != nil {
		return err
	}
	objects, err := w.objects(models)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if err := w.applyOne(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

func (w *workloads) applyOne(ctx context.Context, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := w.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return fmt.Errorf("cannot apply the manifest of %s %s: %w", kind.Kind, object.GetName(), err)
	}
	resource := w.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace())
	for {
		_, err := resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		if err == nil {
			return nil
		}
		// Just after its start the API server may lack built-in roles or namespaces.
		if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) && !apierrors.IsServerTimeout(err) && !apierrors.IsTooManyRequests(err) {
			return fmt.Errorf("cannot create %s %s/%s: %w", kind.Kind, object.GetNamespace(), object.GetName(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot create %s %s/%s: %w", kind.Kind, object.GetNamespace(), object.GetName(), err)
		case <-time.After(applyRetry):
		}
	}
}

// values are the variables of the manifests' templates.
type values struct {
	TritonReplicas int
	ScrapeInterval string
	CollectMS      int64
	GrafanaUser    string
	GrafanaSecret  string
	GPUTaints      []corev1.Taint
}

// objects renders the manifests that the options ask for.
func (w *workloads) objects(models map[string]string) ([]*unstructured.Unstructured, error) {
	var secret [18]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("cannot draw a password for Grafana: %w", err)
	}
	taints, err := w.options.gpuTaints()
	if err != nil {
		return nil, err
	}
	v := values{
		GPUTaints:      taints,
		TritonReplicas: w.options.TritonReplicas,
		ScrapeInterval: w.options.ScrapeInterval.String(),
		CollectMS:      w.options.ScrapeInterval.Milliseconds(),
		GrafanaUser:    "admin",
		GrafanaSecret:  base64.RawURLEncoding.EncodeToString(secret[:]),
	}
	files := []string{"cluster.yaml"}
	if w.options.Stack {
		files = append(files, "dcgm-exporter.yaml")
	}
	files = append(files, "triton.yaml")
	if w.options.Stack {
		files = append(files, "prometheus.yaml", "grafana.yaml")
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		rendered, err := render(file, v)
		if err != nil {
			return nil, err
		}
		if file == "triton.yaml" {
			objects = append(objects, modelsObject(models))
		}
		objects = append(objects, rendered...)
	}
	return objects, nil
}

func modelsObject(models map[string]string) *unstructured.Unstructured {
	data := map[string]any{}
	for name, content := range models {
		data[name] = content
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": modelsConfigMap, "namespace": tritonNamespace},
		"data":     data,
	}}
}

func render(file string, v values) ([]*unstructured.Unstructured, error) {
	source, err := manifests.ReadFile(path.Join("manifests", file))
	if err != nil {
		return nil, fmt.Errorf("cannot read the manifest %s: %w", file, err)
	}
	// Prometheus's own configuration uses no template actions, but dashboards and rules use {{ }}.
	parsed, err := template.New(file).Delims("<<", ">>").Option("missingkey=error").Parse(string(source))
	if err != nil {
		return nil, fmt.Errorf("the manifest %s is not a valid template: %w", file, err)
	}
	var rendered bytes.Buffer
	if err := parsed.Execute(&rendered, v); err != nil {
		return nil, fmt.Errorf("cannot render the manifest %s: %w", file, err)
	}
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(&rendered, 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the manifest %s is not valid YAML: %w", file, err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// readModels reads a file of model descriptions, or a directory of such
// files, by file name; without a path, the built-in ones.
func readModels(location string) (map[string]string, error) {
	if location == "" {
		return triton.DefaultModels(), nil
	}
	info, err := os.Stat(location)
	if err != nil {
		return nil, fmt.Errorf("cannot read the models: %w", err)
	}
	if info.IsDir() {
		return readModelDir(os.DirFS(location), ".")
	}
	return readModelFiles(os.DirFS(filepath.Dir(location)), filepath.Base(location))
}

func readModelDir(files fs.FS, dir string) (map[string]string, error) {
	entries, err := fs.ReadDir(files, dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the models: %w", err)
	}
	var paths []string
	for _, entry := range entries {
		switch strings.ToLower(path.Ext(entry.Name())) {
		case ".yaml", ".yml", ".json":
			paths = append(paths, path.Join(dir, entry.Name()))
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("there is no model description (.yaml, .yml or .json) in the directory %s", dir)
	}
	return readModelFiles(files, paths...)
}

func readModelFiles(files fs.FS, paths ...string) (map[string]string, error) {
	models, size := map[string]string{}, 0
	for _, p := range paths {
		content, err := fs.ReadFile(files, p)
		if err != nil {
			return nil, fmt.Errorf("cannot read the models: %w", err)
		}
		name := path.Base(p)
		if problems := utilvalidation.IsConfigMapKey(name); len(problems) > 0 {
			return nil, fmt.Errorf("the model description %s can't be a ConfigMap's key: %s", p, strings.Join(problems, "; "))
		}
		if _, err := modelconfig.Parse(strings.TrimSuffix(name, path.Ext(name)), content); err != nil {
			return nil, fmt.Errorf("cannot use the models: %w", err)
		}
		models[name] = string(content)
		size += len(content)
	}
	const limit = 1 << 20 // of all data in a ConfigMap
	if size > limit {
		return nil, fmt.Errorf("the model descriptions have %d bytes, more than the %d that fit into a ConfigMap", size, limit)
	}
	return models, nil
}

// podHTTP is a client that reaches pods by their own addresses.
func (w *workloads) podHTTP() *http.Client {
	return &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: w.network.DialContext, DisableKeepAlives: true}}
}
