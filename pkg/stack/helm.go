package stack

import (
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubectl/pkg/validation"
)

// Helm is given its parts one by one. Its own shortcut, action.Configuration's
// Init, would link drivers for SQL databases and kubectl's factory with its
// validation against OpenAPI schemas, a megabyte that nothing here uses. It stays
// out only while no type that becomes an interface leads to an
// action.Configuration: of such types the linker keeps every exported method.

// secrets keeps Helm's records where helm itself looks for them.
func (c *Client) secrets(namespace string) driver.Driver {
	d := driver.NewSecrets(c.kubernetes.CoreV1().Secrets(namespace))
	d.Log = quiet
	return d
}

func quiet(string, ...any) {}

// factory makes what a kube.Client needs to reach the cluster.
type factory struct {
	getter
	dynamic dynamic.Interface
}

var _ kube.Factory = factory{}

func (f factory) DynamicClient() (dynamic.Interface, error) { return f.dynamic, nil }

func (f factory) KubernetesClientSet() (*kubernetes.Clientset, error) {
	return kubernetes.NewForConfig(f.rest)
}

func (f factory) NewBuilder() *resource.Builder { return resource.NewBuilder(f.getter) }

// Validator accepts everything: what the API server refuses, it refuses at the
// write.
func (f factory) Validator(string) (validation.Schema, error) { return validation.NullSchema{}, nil }

// carrier carries Helm's operations out. Helm compares a custom resource with the
// last manifest alone: what somebody changed in the cluster would never be put
// back. Here each object is compared with the cluster too, as Helm does with
// Kubernetes' own kinds.
type carrier struct{ *kube.Client }

func newCarrier(f kube.Factory) carrier {
	return carrier{&kube.Client{Factory: f, Log: quiet}}
}

// Update makes the objects of the last revision those of the new one.
func (c carrier) Update(original, target kube.ResourceList, force bool) (*kube.Result, error) {
	return c.UpdateThreeWayMerge(original, target, force)
}

var (
	_ kube.Interface                    = carrier{}
	_ kube.InterfaceExt                 = carrier{}
	_ kube.InterfaceThreeWayMerge       = carrier{}
	_ kube.InterfaceDeletionPropagation = carrier{}
	_ kube.InterfaceResources           = carrier{}
)
