package node

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	podresource "k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
)

// addresses are what a pod knows of its place on the network.
type addresses struct {
	pod, host netip.Addr
}

// resolveEnvironment returns a container's variables, references resolved and
// $(NAME) expanded, in the kubelet's order of precedence.
func resolveEnvironment(ctx context.Context, client corev1client.CoreV1Interface, pod *corev1.Pod, c *corev1.Container, at addresses) (map[string]string, error) {
	result := map[string]string{}
	for _, source := range c.EnvFrom {
		values, err := readEnvFrom(ctx, client, pod.Namespace, source)
		if err != nil {
			return nil, err
		}
		for key, value := range values {
			result[source.Prefix+key] = value
		}
	}
	expand := expansion.MappingFuncFor(result)
	for _, variable := range c.Env {
		if variable.ValueFrom == nil {
			result[variable.Name] = expansion.Expand(variable.Value, expand)
			continue
		}
		value, found, err := resolveReference(ctx, client, pod, c, variable.ValueFrom, at)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", variable.Name, err)
		}
		if found {
			result[variable.Name] = value
		}
	}
	return result, nil
}

func readEnvFrom(ctx context.Context, client corev1client.CoreV1Interface, namespace string, source corev1.EnvFromSource) (map[string]string, error) {
	switch {
	case source.ConfigMapRef != nil:
		object, err := client.ConfigMaps(namespace).Get(ctx, source.ConfigMapRef.Name, metav1.GetOptions{})
		if ignoreMissing(err, source.ConfigMapRef.Optional) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("configmap %q: %w", source.ConfigMapRef.Name, err)
		}
		return object.Data, nil
	case source.SecretRef != nil:
		object, err := client.Secrets(namespace).Get(ctx, source.SecretRef.Name, metav1.GetOptions{})
		if ignoreMissing(err, source.SecretRef.Optional) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("secret %q: %w", source.SecretRef.Name, err)
		}
		values := map[string]string{}
		for key, value := range object.Data {
			values[key] = string(value)
		}
		return values, nil
	}
	return nil, nil
}

func resolveReference(ctx context.Context, client corev1client.CoreV1Interface, pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, at addresses) (value string, found bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err := podField(pod, from.FieldRef.FieldPath, at)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err := podresource.ExtractContainerResourceValue(from.ResourceFieldRef, c)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		object, err := client.ConfigMaps(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if ignoreMissing(err, ref.Optional) {
			return "", false, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("configmap %q: %w", ref.Name, err)
		}
		value, ok := object.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %s in ConfigMap %s/%s", ref.Key, pod.Namespace, ref.Name)
		}
		return value, ok, nil
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		object, err := client.Secrets(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if ignoreMissing(err, ref.Optional) {
			return "", false, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("secret %q: %w", ref.Name, err)
		}
		data, ok := object.Data[ref.Key]
		if !ok && !isTrue(ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %s in Secret %s/%s", ref.Key, pod.Namespace, ref.Name)
		}
		return string(data), ok, nil
	}
	return "", false, fmt.Errorf("the sandbox's nodes don't support this kind of reference")
}

// podField resolves a downward API field. Addresses come from the agent, since
// the pod's status may not show them yet.
func podField(pod *corev1.Pod, path string, at addresses) (string, error) {
	switch path {
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return at.pod.String(), nil
	case "status.hostIP", "status.hostIPs":
		return at.host.String(), nil
	}
	return fieldpath.ExtractFieldPathAsString(pod, path)
}

func ignoreMissing(err error, optional *bool) bool {
	return apierrors.IsNotFound(err) && isTrue(optional)
}

func isTrue(b *bool) bool { return b != nil && *b }

// rewritePaths replaces a mount's path at the beginning of value, or after its
// first '=', by the local path. The longest mount path that fits wins.
func rewritePaths(value string, mounts podpath.Mounts) string {
	if local, ok := mounts.Local(value); ok {
		return local
	}
	if name, path, ok := strings.Cut(value, "="); ok {
		if local, ok := mounts.Local(path); ok {
			return name + "=" + local
		}
	}
	return value
}
