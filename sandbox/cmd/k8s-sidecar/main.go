// Command k8s-sidecar is the sandbox's program for the image of that name: it
// keeps the data of labelled ConfigMaps and Secrets as files in a folder, and
// tells a URL after each change. It is configured by the original's variables;
// SCRIPT and data to be downloaded (.url) are not supported.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
	"github.com/kubectl-triton/kubectl-triton/sandbox/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "k8s-sidecar:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, getenv func(string) string) error {
	mounts, err := podpath.FromEnvironment()
	if err != nil {
		return err
	}
	config, err := configure(getenv, mounts)
	if err != nil {
		return err
	}
	loading := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	rest, err := loading.ClientConfig()
	if err != nil {
		return fmt.Errorf("cannot read the pod's kubeconfig: %w", err)
	}
	if len(config.namespaces) == 0 {
		own, _, err := loading.Namespace()
		if err != nil {
			return fmt.Errorf("cannot find the pod's namespace: %w", err)
		}
		config.namespaces = []string{own}
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return fmt.Errorf("cannot make a client of the API server: %w", err)
	}
	s := &sidecar{config: config, client: client, log: slog.New(slog.NewTextHandler(os.Stdout, nil)), files: map[key][]string{}}
	if s.http, err = workload.Client(); err != nil {
		return err
	}
	if config.once {
		return s.list(ctx)
	}
	return s.watch(ctx)
}

// config is what the variables say.
type config struct {
	label, value     string
	folder           string
	folderAnnotation string
	namespaces       []string // empty: the pod's own; one empty name: all
	resources        []string // configmap, secret
	names            []string // empty: all
	unique           bool
	once             bool // list, don't watch
	reload           reload
	mounts           podpath.Mounts
}

type reload struct{ url, method, payload, user, password string }

func configure(getenv func(string) string, mounts podpath.Mounts) (config, error) {
	or := func(name, otherwise string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	c := config{
		label: getenv("LABEL"), value: getenv("LABEL_VALUE"), folder: mounts.LocalOr(getenv("FOLDER")),
		folderAnnotation: or("FOLDER_ANNOTATION", "k8s-sidecar-target-directory"),
		unique:           strings.EqualFold(getenv("UNIQUE_FILENAMES"), "true"),
		reload: reload{
			url: getenv("REQ_URL"), method: or("REQ_METHOD", "GET"), payload: getenv("REQ_PAYLOAD"),
			user: getenv("REQ_USERNAME"), password: getenv("REQ_PASSWORD"),
		},
		mounts: mounts,
	}
	if c.label == "" || c.folder == "" {
		return c, errors.New("LABEL and FOLDER must be set")
	}
	if getenv("SCRIPT") != "" {
		return c, errors.New("SCRIPT is set, but the sandbox's k8s-sidecar runs no scripts")
	}
	switch resource := or("RESOURCE", "configmap"); resource {
	case "both":
		c.resources = []string{"configmap", "secret"}
	case "configmap", "secret":
		c.resources = []string{resource}
	default:
		return c, fmt.Errorf("RESOURCE is %q; it must be configmap, secret or both", resource)
	}
	switch method := or("METHOD", "WATCH"); method {
	case "WATCH", "SLEEP":
	case "LIST":
		c.once = true
	default:
		return c, fmt.Errorf("METHOD is %q; it must be WATCH, LIST or SLEEP", method)
	}
	if names := getenv("RESOURCE_NAME"); names != "" {
		c.names = strings.Split(names, ",")
	}
	switch namespaces := getenv("NAMESPACE"); namespaces {
	case "":
	case "ALL":
		c.namespaces = []string{""}
	default:
		c.namespaces = strings.Split(namespaces, ",")
	}
	return c, nil
}

// wants reports whether an object of that kind and name is asked for by name.
func (c config) wants(resource, namespace, name string) bool {
	if len(c.names) == 0 {
		return true
	}
	return slices.ContainsFunc(c.names, func(n string) bool {
		return n == name || n == namespace+"/"+name || n == resource+"/"+name || n == namespace+"/"+resource+"/"+name
	})
}

// directory is where an object's files go, by its annotation.
func (c config) directory(annotations map[string]string) string {
	target := annotations[c.folderAnnotation]
	switch {
	case target == "":
		return c.folder
	case strings.HasPrefix(target, "/"):
		return c.mounts.LocalOr(target)
	}
	return filepath.Join(c.folder, target)
}
