package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// source is a ConfigMap or Secret that a volume shows.
type source struct{ resource, name string }

// sources returns what a volume shows and what may therefore change. A volume
// with a token is not refreshed: the token would be another one each time.
func sources(volume *corev1.Volume) []source {
	switch {
	case volume.ConfigMap != nil:
		return []source{{"configmaps", volume.ConfigMap.Name}}
	case volume.Secret != nil:
		return []source{{"secrets", volume.Secret.SecretName}}
	case volume.Projected != nil:
		var list []source
		for _, p := range volume.Projected.Sources {
			switch {
			case p.ServiceAccountToken != nil:
				return nil
			case p.ConfigMap != nil:
				list = append(list, source{"configmaps", p.ConfigMap.Name})
			case p.Secret != nil:
				list = append(list, source{"secrets", p.Secret.Name})
			}
		}
		return list
	}
	return nil
}

// watchVolumes calls changed with a volume's name each time one of its sources
// changes, by one watch per object as a kubelet does, until ctx ends.
func watchVolumes(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, changed func(volume string)) {
	interested := map[source][]string{}
	for i := range pod.Spec.Volumes {
		for _, s := range sources(&pod.Spec.Volumes[i]) {
			interested[s] = append(interested[s], pod.Spec.Volumes[i].Name)
		}
	}
	for s, volumes := range interested {
		var object runtime.Object = &corev1.ConfigMap{}
		if s.resource == "secrets" {
			object = &corev1.Secret{}
		}
		notify := func(any) {
			for _, v := range volumes {
				changed(v)
			}
		}
		_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
			ListerWatcher: cache.NewListWatchFromClient(client.CoreV1().RESTClient(), s.resource, pod.Namespace, fields.OneTermEqualSelector(metav1.ObjectNameField, s.name)),
			ObjectType:    object,
			Handler: cache.ResourceEventHandlerFuncs{
				AddFunc:    notify, // what changed between set-up and watch, too
				UpdateFunc: func(_, o any) { notify(o) },
			},
		})
		go informer.RunWithContext(ctx)
	}
}

// refresh brings one volume up to date: new and changed files are written, and
// those that its sources don't have any more are removed.
func (v *volumes) refresh(ctx context.Context, name string) error {
	for i := range v.pod.Spec.Volumes {
		volume := &v.pod.Spec.Volumes[i]
		if volume.Name != name {
			continue
		}
		files, err := v.files(ctx, volume)
		if err == nil {
			err = writeVolume(v.path(name), files)
		}
		if err == nil {
			err = removeOthers(v.path(name), files)
		}
		if err != nil {
			return fmt.Errorf("cannot refresh the volume %q: %w", name, err)
		}
	}
	return nil
}

func removeOthers(dir string, files map[string]volumeFile) error {
	return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if _, kept := files[filepath.ToSlash(name)]; kept {
			return nil
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}
