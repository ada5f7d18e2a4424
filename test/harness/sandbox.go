// Package harness starts a sandbox for a test binary, runs the built programs
// against it and looks at what they did to its cluster. It is for tests only.
package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Sandbox is a running instance and the clients of its API server.
type Sandbox struct {
	Bin        string // directory of the built programs
	Name       string
	Kubeconfig string
	REST       *rest.Config
	Client     kubernetes.Interface
	Dynamic    dynamic.Interface

	home       string   // of the programs that run against it, so that caches are its own
	prometheus sync.Map // promv1.API by prometheusOf
}

// Start brings up an instance with the flags of "sandbox up". Its name begins
// with prefix and holds the process's number. Stop ends it, also one that did
// not come up.
func Start(bin, prefix string, args ...string) (*Sandbox, error) {
	s := &Sandbox{Bin: bin, Name: fmt.Sprintf("%s-%d", prefix, os.Getpid())}
	var err error
	if s.home, err = os.MkdirTemp("", "kubectl-triton-home-"); err != nil {
		return nil, err
	}
	up := exec.Command(filepath.Join(bin, "sandbox"), append([]string{"up", "--name", s.Name}, args...)...)
	up.Stderr = os.Stderr
	if err := up.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("the sandbox did not come up: %w", err), s.Stop())
	}
	if err := s.connect(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Sandbox) connect() error {
	out, err := exec.Command(filepath.Join(s.Bin, "sandbox"), "kubeconfig", "--name", s.Name).Output()
	if err != nil {
		return fmt.Errorf("no kubeconfig of the sandbox: %w", err)
	}
	s.Kubeconfig = strings.TrimSpace(string(out))
	if s.REST, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig); err != nil {
		return err
	}
	s.REST.QPS, s.REST.Burst = 200, 400
	s.REST.WarningHandler = rest.NoWarnings{} // all kinds are listed, old ones too
	if s.Client, err = kubernetes.NewForConfig(s.REST); err != nil {
		return err
	}
	s.Dynamic, err = dynamic.NewForConfig(s.REST)
	return err
}

// Stop ends the instance and removes what its programs have cached.
func (s *Sandbox) Stop() error {
	down := exec.Command(filepath.Join(s.Bin, "sandbox"), "down", "--name", s.Name)
	down.Stderr = os.Stderr
	err := down.Run()
	if err != nil {
		err = fmt.Errorf("the sandbox could not be ended: %w", err)
	}
	return errors.Join(err, os.RemoveAll(s.home))
}
