package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// settle gathers the changes of a moment into one request.
	settle         = 100 * time.Millisecond
	retryReload    = time.Second
	requestTimeout = 10 * time.Second
)

// key names an object over all kinds.
type key struct{ resource, namespace, name string }

type sidecar struct {
	config config
	client kubernetes.Interface
	http   *http.Client
	log    *slog.Logger

	mu    sync.Mutex
	files map[key][]string // what each object's data became
}

// list writes the files of what there is now.
func (s *sidecar) list(ctx context.Context) error {
	for _, namespace := range s.config.namespaces {
		for _, resource := range s.config.resources {
			options := metav1.ListOptions{LabelSelector: s.selector()}
			if resource == "configmap" {
				objects, err := s.client.CoreV1().ConfigMaps(namespace).List(ctx, options)
				if err != nil {
					return fmt.Errorf("cannot list ConfigMaps: %w", err)
				}
				for i := range objects.Items {
					s.apply(&objects.Items[i])
				}
				continue
			}
			objects, err := s.client.CoreV1().Secrets(namespace).List(ctx, options)
			if err != nil {
				return fmt.Errorf("cannot list Secrets: %w", err)
			}
			for i := range objects.Items {
				s.apply(&objects.Items[i])
			}
		}
	}
	return s.request(ctx)
}

func (s *sidecar) selector() string {
	if s.config.value == "" {
		return s.config.label
	}
	return s.config.label + "=" + s.config.value
}

// watch follows the objects until ctx ends.
func (s *sidecar) watch(ctx context.Context) error {
	changes := make(chan struct{}, 1)
	noted := func(changed bool) {
		if changed {
			select {
			case changes <- struct{}{}:
			default: // a request is due already
			}
		}
	}
	for _, namespace := range s.config.namespaces {
		factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithNamespace(namespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = s.selector() }))
		for _, resource := range s.config.resources {
			informer := factory.Core().V1().ConfigMaps().Informer()
			if resource == "secret" {
				informer = factory.Core().V1().Secrets().Informer()
			}
			if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
				AddFunc:    func(o any) { noted(s.apply(o)) },
				UpdateFunc: func(_, o any) { noted(s.apply(o)) },
				DeleteFunc: func(o any) {
					if unknown, ok := o.(cache.DeletedFinalStateUnknown); ok {
						o = unknown.Obj
					}
					noted(s.remove(o))
				},
			}); err != nil {
				return fmt.Errorf("cannot watch: %w", err)
			}
		}
		factory.StartWithContext(ctx)
	}
	due := time.NewTimer(time.Hour)
	due.Stop()
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
			due.Reset(settle)
		case <-due.C:
			if err := s.request(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("the request after a change failed; trying again", "error", err)
				due.Reset(retryReload)
			}
		}
	}
}

// object is what ConfigMaps and Secrets have in common here.
type object struct {
	key
	annotations map[string]string
	data        map[string][]byte
}

func read(o any) (object, bool) {
	switch o := o.(type) {
	case *corev1.ConfigMap:
		data := map[string][]byte{}
		for name, text := range o.Data {
			data[name] = []byte(text)
		}
		for name, content := range o.BinaryData {
			data[name] = content
		}
		return object{key{"configmap", o.Namespace, o.Name}, o.Annotations, data}, true
	case *corev1.Secret:
		return object{key{"secret", o.Namespace, o.Name}, o.Annotations, o.Data}, true
	}
	return object{}, false
}

// apply writes an object's files, removes those that it no longer has, and
// reports whether any of that made a difference.
func (s *sidecar) apply(raw any) (changed bool) {
	o, ok := read(raw)
	if !ok || !s.config.wants(o.resource, o.namespace, o.name) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := s.config.directory(o.annotations)
	var written []string
	for name, content := range o.data {
		if strings.HasSuffix(name, ".url") {
			s.log.Warn("data to be downloaded is left out", "name", name, "of", o.key)
			continue
		}
		if s.config.unique {
			name = fmt.Sprintf("namespace_%s.%s_%s.%s", o.namespace, o.resource, o.name, name)
		}
		file := filepath.Join(dir, name)
		written = append(written, file)
		if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, content) {
			continue
		}
		if err := writeFile(file, content); err != nil {
			s.log.Error("cannot write a file", "error", err)
			continue
		}
		s.log.Info("wrote", "file", file)
		changed = true
	}
	for _, file := range s.files[o.key] {
		if !slices.Contains(written, file) {
			changed = s.removeFile(file) || changed
		}
	}
	s.files[o.key] = written
	return changed
}

func writeFile(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	next := filepath.Join(filepath.Dir(file), ".next-"+filepath.Base(file))
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	return os.Rename(next, file)
}

func (s *sidecar) remove(raw any) (changed bool) {
	o, ok := read(raw)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range s.files[o.key] {
		changed = s.removeFile(file) || changed
	}
	delete(s.files, o.key)
	return changed
}

func (s *sidecar) removeFile(file string) bool {
	if err := os.Remove(file); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Error("cannot remove a file", "error", err)
		}
		return false
	}
	s.log.Info("removed", "file", file)
	return true
}

// request tells the URL, if there is one, that files have changed.
func (s *sidecar) request(ctx context.Context) error {
	r := s.config.reload
	if r.url == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.payload))
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	if r.user != "" {
		request.SetBasicAuth(r.user, r.password)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<12)) // the status says enough without it
		return fmt.Errorf("%s %s was answered with status %d: %s", r.method, r.url, response.StatusCode, bytes.TrimSpace(text))
	}
	s.log.Info("sent the request after a change", "url", r.url, "status", response.StatusCode)
	return nil
}
