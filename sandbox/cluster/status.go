package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Status is what an instance is doing.
type Status struct {
	Name       string            `json:"name"`
	State      string            `json:"state"` // starting, running, dead or unreachable
	Message    string            `json:"message,omitempty"`
	Directory  string            `json:"directory"`
	Kubeconfig string            `json:"kubeconfig"`
	Log        string            `json:"log"`
	PID        int               `json:"pid,omitempty"`
	Started    time.Time         `json:"started,omitzero"`
	MemoryMiB  int               `json:"daemonResidentMiB,omitempty"`
	Components []ComponentStatus `json:"components"`
	Nodes      []NodeStatus      `json:"nodes"`
	Pods       []PodStatus       `json:"pods"`
}

// ComponentStatus is one part of the control plane.
type ComponentStatus struct {
	Name    string `json:"name"`
	Healthy bool   `json:"healthy"`
	Message string `json:"message,omitempty"`
}

// NodeStatus is one node.
type NodeStatus struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	GPUs  int64  `json:"gpus"`
	Model string `json:"gpuModel,omitempty"`
}

// PodStatus is one pod.
type PodStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Ready     bool   `json:"ready"`
	Phase     string `json:"phase"`
	Trouble   string `json:"trouble,omitempty"`
	Restarts  int32  `json:"restarts"`
	Node      string `json:"node"`
}

const statusTimeout = 5 * time.Second

// Status looks at the instance from outside. It returns nil if there is none.
func (i Instance) Status(ctx context.Context) (*Status, error) {
	exists, err := i.Exists()
	if err != nil || !exists {
		return nil, err
	}
	s := &Status{Name: i.Name, Directory: i.Dir, Kubeconfig: i.Kubeconfig(), Log: i.LogPath()}
	running, err := i.running()
	if err != nil {
		return nil, err
	}
	r, err := i.readRecord()
	if err == nil {
		s.PID, s.Started = r.Daemon.PID, r.Started
		s.MemoryMiB = residentMiB(r.Daemon.PID)
	}
	switch {
	// A process that was killed may hold its lock for a moment longer.
	case !running, err == nil && r.Daemon.PID != 0 && !r.Daemon.Alive():
		s.State, s.PID, s.MemoryMiB = "dead", 0, 0
		s.Message = fmt.Sprintf("its daemon has ended; see %s, then clean up with `sandbox down --name %s`", i.LogPath(), i.Name)
		return s, nil
	case err != nil || r.Ready.IsZero():
		s.State = "starting"
	default:
		s.State = "running"
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if err := s.ask(ctx, i.Kubeconfig()); err != nil && s.State == "running" {
		s.State, s.Message = "unreachable", err.Error()
	}
	return s, nil
}

// ask fills in what the API server knows.
func (s *Status) ask(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("cannot use the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot use the kubeconfig: %w", err)
	}
	health := func(name, path string) {
		_, err := client.Discovery().RESTClient().Get().AbsPath(path).DoRaw(ctx)
		c := ComponentStatus{Name: name, Healthy: err == nil}
		if err != nil {
			c.Message = err.Error()
		}
		s.Components = append(s.Components, c)
	}
	health("etcd", "/readyz/etcd")
	health("kube-apiserver", "/readyz")
	// They open no port; the daemon ends when one of them does.
	s.Components = append(s.Components, ComponentStatus{Name: "kube-controller-manager", Healthy: true}, ComponentStatus{Name: "kube-scheduler", Healthy: true})

	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("cannot list the nodes: %w", err)
	}
	for _, n := range nodes.Items {
		gpus := n.Status.Allocatable["nvidia.com/gpu"]
		node := NodeStatus{Name: n.Name, GPUs: gpus.Value(), Model: n.Labels["nvidia.com/gpu.product"]}
		for _, c := range n.Status.Conditions {
			node.Ready = node.Ready || (c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue)
		}
		s.Nodes = append(s.Nodes, node)
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("cannot list the pods: %w", err)
	}
	for _, p := range pods.Items {
		trouble := podTrouble(&p)
		pod := PodStatus{Namespace: p.Namespace, Name: p.Name, Phase: string(p.Status.Phase), Trouble: trouble, Node: p.Spec.NodeName}
		pod.Ready = trouble == "" && p.Status.Phase == corev1.PodRunning
		for _, c := range p.Status.ContainerStatuses {
			pod.Restarts += c.RestartCount
		}
		s.Pods = append(s.Pods, pod)
	}
	return nil
}

// residentMiB reads a process's resident memory; 0 means unknown.
func residentMiB(pid int) int {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(content))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return pages * os.Getpagesize() >> 20
}

// WriteJSON prints statuses for programs.
func WriteJSON(w io.Writer, statuses []*Status) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(map[string]any{"instances": statuses}); err != nil {
		return fmt.Errorf("cannot print the status: %w", err)
	}
	return nil
}

// WriteTable prints statuses for people.
func WriteTable(w io.Writer, statuses []*Status, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var errs []error
	line := func(cells ...string) {
		_, err := fmt.Fprintln(t, strings.Join(cells, "\t"))
		errs = append(errs, err)
	}
	for n, s := range statuses {
		if n > 0 {
			line()
		}
		age := ""
		if !s.Started.IsZero() {
			age = duration.HumanDuration(now.Sub(s.Started))
		}
		line("INSTANCE", "STATE", "AGE", "PID", "MEMORY", "KUBECONFIG")
		line(s.Name, s.State, orDash(age), orDash(number(s.PID, "")), orDash(number(s.MemoryMiB, " MiB")), s.Kubeconfig)
		if s.Message != "" {
			line(s.Message)
		}
		if len(s.Components) > 0 {
			line()
			line("COMPONENT", "HEALTHY")
			for _, c := range s.Components {
				line(c.Name, yesNo(c.Healthy, c.Message))
			}
		}
		if len(s.Nodes) > 0 {
			line()
			line("NODE", "READY", "GPUS", "MODEL")
			for _, node := range s.Nodes {
				line(node.Name, yesNo(node.Ready, ""), strconv.FormatInt(node.GPUs, 10), orDash(node.Model))
			}
		}
		if len(s.Pods) > 0 {
			line()
			line("NAMESPACE", "POD", "READY", "RESTARTS", "NODE")
			for _, p := range s.Pods {
				line(p.Namespace, p.Name, yesNo(p.Ready, p.Trouble), strconv.Itoa(int(p.Restarts)), orDash(p.Node))
			}
		}
	}
	return errors.Join(append(errs, t.Flush())...)
}

func yesNo(yes bool, why string) string {
	switch {
	case yes:
		return "yes"
	case why != "":
		return "no: " + why
	}
	return "no"
}

func number(n int, unit string) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n) + unit
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
