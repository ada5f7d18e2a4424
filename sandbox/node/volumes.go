package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	podresource "k8s.io/kubernetes/pkg/api/v1/resource"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
)

// volumes materialises a pod's volumes as directories under dir.
type volumes struct {
	dir    string
	client corev1client.CoreV1Interface
	pod    *corev1.Pod
	at     addresses

	claimsRoot string            // holds the directories of PersistentVolumes
	claims     map[string]string // local paths of claims' volumes, by the pod's name for them
}

// path returns where a volume lies: a claim's on its PersistentVolume, all
// others in the pod's own directory.
func (v *volumes) path(name string) string {
	if claimed, ok := v.claims[name]; ok {
		return claimed
	}
	return filepath.Join(v.dir, name)
}

// setUp writes all volumes. It may be called again after an error.
func (v *volumes) setUp(ctx context.Context) error {
	for i := range v.pod.Spec.Volumes {
		volume := &v.pod.Spec.Volumes[i]
		if volume.PersistentVolumeClaim != nil {
			if err := v.claim(ctx, volume.Name, volume.PersistentVolumeClaim.ClaimName); err != nil {
				return fmt.Errorf("MountVolume.SetUp failed for volume %q: %w", volume.Name, err)
			}
		}
		dir := v.path(volume.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q: %w", volume.Name, err)
		}
		files, err := v.files(ctx, volume)
		if err == nil {
			err = writeVolume(dir, files)
		}
		if err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q: %w", volume.Name, err)
		}
	}
	return nil
}

// claim finds the directory of the PersistentVolume that a claim is bound to.
// Volumes that aren't this machine's are empty private directories.
func (v *volumes) claim(ctx context.Context, volume, name string) error {
	claim, err := v.client.PersistentVolumeClaims(v.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if claim.Spec.VolumeName == "" {
		return fmt.Errorf("the claim %q is not bound yet", name)
	}
	bound, err := v.client.PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if local := bound.Spec.Local; local != nil && v.claimsRoot != "" && filepath.Dir(local.Path) == v.claimsRoot {
		if v.claims == nil {
			v.claims = map[string]string{}
		}
		v.claims[volume] = local.Path
	}
	return nil
}

type volumeFile struct {
	data []byte
	mode fs.FileMode
}

// files returns the content of a volume by relative path. Volumes of the host
// and of all other kinds are empty private directories.
func (v *volumes) files(ctx context.Context, volume *corev1.Volume) (map[string]volumeFile, error) {
	switch {
	case volume.ConfigMap != nil:
		s := volume.ConfigMap
		return v.configMap(ctx, s.Name, s.Items, s.DefaultMode, s.Optional)
	case volume.Secret != nil:
		s := volume.Secret
		return v.secret(ctx, s.SecretName, s.Items, s.DefaultMode, s.Optional)
	case volume.DownwardAPI != nil:
		return v.downwardAPI(volume.DownwardAPI.Items, volume.DownwardAPI.DefaultMode)
	case volume.Projected != nil:
		files := map[string]volumeFile{}
		for _, source := range volume.Projected.Sources {
			part, err := v.projection(ctx, source, volume.Projected.DefaultMode)
			if err != nil {
				return nil, err
			}
			for name, file := range part {
				files[name] = file
			}
		}
		return files, nil
	}
	return nil, nil
}

func (v *volumes) projection(ctx context.Context, source corev1.VolumeProjection, mode *int32) (map[string]volumeFile, error) {
	switch {
	case source.ConfigMap != nil:
		return v.configMap(ctx, source.ConfigMap.Name, source.ConfigMap.Items, mode, source.ConfigMap.Optional)
	case source.Secret != nil:
		return v.secret(ctx, source.Secret.Name, source.Secret.Items, mode, source.Secret.Optional)
	case source.DownwardAPI != nil:
		return v.downwardAPI(source.DownwardAPI.Items, mode)
	case source.ServiceAccountToken != nil:
		return v.token(ctx, source.ServiceAccountToken)
	}
	return nil, errors.New("the sandbox's nodes don't support this kind of projected source")
}

func (v *volumes) configMap(ctx context.Context, name string, items []corev1.KeyToPath, mode *int32, optional *bool) (map[string]volumeFile, error) {
	object, err := v.client.ConfigMaps(v.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if ignoreMissing(err, optional) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	for key, value := range object.Data {
		data[key] = []byte(value)
	}
	for key, value := range object.BinaryData {
		data[key] = value
	}
	return selectItems("configmap", name, data, items, mode, optional)
}

func (v *volumes) secret(ctx context.Context, name string, items []corev1.KeyToPath, mode *int32, optional *bool) (map[string]volumeFile, error) {
	object, err := v.client.Secrets(v.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if ignoreMissing(err, optional) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return selectItems("secret", name, object.Data, items, mode, optional)
}

func selectItems(kind, name string, data map[string][]byte, items []corev1.KeyToPath, mode *int32, optional *bool) (map[string]volumeFile, error) {
	files := map[string]volumeFile{}
	if len(items) == 0 {
		for key, value := range data {
			files[key] = volumeFile{value, fileMode(nil, mode)}
		}
		return files, nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if isTrue(optional) {
				continue
			}
			return nil, fmt.Errorf("%s %q references non-existent key: %s", kind, name, item.Key)
		}
		files[item.Path] = volumeFile{value, fileMode(item.Mode, mode)}
	}
	return files, nil
}

func (v *volumes) downwardAPI(items []corev1.DownwardAPIVolumeFile, mode *int32) (map[string]volumeFile, error) {
	files := map[string]volumeFile{}
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = podField(v.pod, item.FieldRef.FieldPath, v.at)
		case item.ResourceFieldRef != nil:
			value, err = podresource.ExtractResourceValueByContainerName(item.ResourceFieldRef, v.pod, item.ResourceFieldRef.ContainerName)
		}
		if err != nil {
			return nil, err
		}
		files[item.Path] = volumeFile{[]byte(value), fileMode(item.Mode, mode)}
	}
	return files, nil
}

// token asks for a ServiceAccount token bound to the pod. It is not renewed:
// the API server extends the tokens that its admission mounts to a year.
func (v *volumes) token(ctx context.Context, source *corev1.ServiceAccountTokenProjection) (map[string]volumeFile, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: v.pod.Name, UID: v.pod.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	answer, err := v.client.ServiceAccounts(v.pod.Namespace).CreateToken(ctx, v.pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("failed to fetch token: %w", err)
	}
	return map[string]volumeFile{source.Path: {[]byte(answer.Status.Token), 0o600}}, nil
}

func fileMode(own, common *int32) fs.FileMode {
	const readable = 0o400 // the agent rewrites its files, and no one else may read them
	switch {
	case own != nil:
		return fs.FileMode(*own)&0o700 | readable
	case common != nil:
		return fs.FileMode(*common)&0o700 | readable
	}
	return 0o600
}

// writeVolume puts files in place, each at once, so that no reader sees half of
// one. What has not changed is left alone.
func writeVolume(dir string, files map[string]volumeFile) error {
	for name, file := range files {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("the path %q leaves its volume", name)
		}
		target := filepath.Join(dir, name)
		if old, err := os.ReadFile(target); err == nil && bytes.Equal(old, file.data) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		next := filepath.Join(filepath.Dir(target), ".next-"+filepath.Base(target))
		if err := os.WriteFile(next, file.data, file.mode); err != nil {
			return err
		}
		if err := os.Rename(next, target); err != nil {
			return err
		}
	}
	return nil
}

// mounts returns where a container's volume mounts lie on this machine.
func (v *volumes) mounts(c *corev1.Container) (podpath.Mounts, error) {
	var mounts podpath.Mounts
	for _, m := range c.VolumeMounts {
		if m.SubPathExpr != "" {
			return nil, fmt.Errorf("the volume mount %s uses subPathExpr, which the sandbox's nodes don't support", m.MountPath)
		}
		if m.SubPath != "" && !filepath.IsLocal(m.SubPath) {
			return nil, fmt.Errorf("the volume mount %s has the subPath %q, which leaves its volume", m.MountPath, m.SubPath)
		}
		local := filepath.Join(v.path(m.Name), m.SubPath)
		if _, err := os.Stat(local); errors.Is(err, fs.ErrNotExist) {
			// A subPath that isn't there becomes a directory.
			if err := os.MkdirAll(local, 0o700); err != nil {
				return nil, fmt.Errorf("cannot make the subPath of the volume mount %s: %w", m.MountPath, err)
			}
		}
		mounts = append(mounts, podpath.Mount{ContainerPath: path.Clean(m.MountPath), LocalPath: local})
	}
	return mounts, nil
}

// serviceAccountDir returns where the pod's ServiceAccount credentials are mounted, if they are.
func serviceAccountDir(mounts podpath.Mounts) (string, bool) {
	const conventional = "/var/run/secrets/kubernetes.io/serviceaccount"
	for _, m := range mounts {
		if strings.TrimSuffix(m.ContainerPath, "/") == conventional {
			return m.LocalPath, true
		}
	}
	return "", false
}
