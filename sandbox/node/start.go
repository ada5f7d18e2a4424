package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
	"github.com/kubectl-triton/kubectl-triton/sandbox/workload"
)

// retryStart is how often a container is tried again that can't be created.
const retryStart = 5 * time.Second

// start runs a container whose turn has come. What can't be created yet shows
// its reason in the waiting state, as under a kubelet, and is tried again.
func (w *podWorker) start(ctx context.Context, c *container) {
	c.pending = false
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		w.postpone(c, "CreateContainerError", err)
		return
	}
	if !pullable(c.spec.Image) {
		w.failPull(c)
		return
	}
	if c.program == nil {
		w.pretend(c)
		return
	}
	executable := c.program.executable(w.agent.cfg.BinDir)
	if _, err := os.Stat(executable); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("the sandbox runs image %s as %s, which does not exist: build it with make", c.spec.Image, executable)
		}
		w.postpone(c, "ErrImagePull", err)
		return
	}
	l, err := w.launch(ctx, c)
	if err != nil {
		w.postpone(c, "CreateContainerConfigError", err)
		return
	}
	log, err := createContainerLog(c.logPath(c.attempt+1), nil)
	if err != nil {
		w.postpone(c, "CreateContainerError", err)
		return
	}
	c.attempt++
	w.dropOldLog(c)
	attempt := c.attempt
	process, err := startProcess(starting{
		launch: *l, log: log, podIP: w.at.pod,
		network: w.agent.cfg.Network, starter: w.agent.cfg.Starter, binDir: w.agent.cfg.BinDir,
		ended: func(e exit) { w.post(func() { w.exited(c, attempt, e) }) },
	})
	if err != nil {
		w.postpone(c, "RunContainerError", err)
		return
	}
	c.process = process
	c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(process.started)}}
	w.agent.recorder.Eventf(w.pod(), corev1.EventTypeNormal, "Started", "Started container %s", c.spec.Name)
	w.watchHealth(ctx, c)
}

// dropOldLog keeps the logs of this run and of the one before, as a kubelet does.
func (w *podWorker) dropOldLog(c *container) {
	if err := os.Remove(c.logPath(c.attempt - 2)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.agent.log.Warn("cannot remove an old container log", "pod", w.key, "error", err)
	}
}

func (w *podWorker) postpone(c *container, reason string, err error) {
	c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: err.Error()}}
	w.agent.recorder.Event(w.pod(), corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
	w.agent.log.Warn("a container can't be started; trying again", "pod", w.key, "container", c.spec.Name, "error", err)
	time.AfterFunc(retryStart, func() { w.post(func() { c.pending = !w.terminating }) })
}

// pretend settles a container of an unknown image: it runs, or it has done its work.
func (w *podWorker) pretend(c *container) {
	now := metav1.Now()
	c.attempt++
	if log, err := createContainerLog(c.logPath(c.attempt), nil); err == nil {
		err = errors.Join(log.note(fmt.Sprintf("sandbox: image %s stands for no local program; nothing runs", c.spec.Image)), log.close())
		if err != nil {
			w.agent.log.Warn("cannot write a container log", "pod", w.key, "error", err)
		}
	}
	keepsRunning := c.sidecar() || (!c.init && w.pod().Spec.RestartPolicy == corev1.RestartPolicyAlways)
	if keepsRunning {
		c.started, c.ready = true, true
		c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
		return
	}
	c.ready = c.init
	c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: now, FinishedAt: now}}
}

// launch resolves a container's command line, variables and files.
func (w *podWorker) launch(ctx context.Context, c *container) (*launch, error) {
	pod := w.pod()
	variables, err := resolveEnvironment(ctx, w.agent.client.CoreV1(), pod, c.spec, w.at)
	if err != nil {
		return nil, err
	}
	mounts, err := w.volumes.mounts(c.spec)
	if err != nil {
		return nil, err
	}
	arguments, err := commandArguments(*c.program, c.spec.Command, c.spec.Args)
	if err != nil {
		return nil, err
	}
	expand := expansion.MappingFuncFor(variables)
	for i, argument := range arguments {
		arguments[i] = rewritePaths(expansion.Expand(argument, expand), mounts)
	}
	for name, value := range variables {
		variables[name] = rewritePaths(value, mounts)
	}
	whole, err := w.podMounts()
	if err != nil {
		return nil, err
	}
	maps.Copy(variables, map[string]string{
		podpath.EnvMounts: whole, workload.EnvProxyURL: w.agent.cfg.ProxyURL, workload.EnvPodIP: w.at.pod.String(),
		"POD_NAME": pod.Name, "POD_NAMESPACE": pod.Namespace, "POD_UID": string(pod.UID), "NODE_NAME": w.agent.cfg.Name,
		"PATH": os.Getenv("PATH"), "HOME": c.dir, "TMPDIR": c.dir,
	})
	if len(c.gpus) > 0 {
		variables["NVIDIA_VISIBLE_DEVICES"] = strings.Join(c.gpus, ",")
	}
	if w.agent.cfg.GPUs > 0 {
		variables["SANDBOX_GPU_DIR"] = w.agent.gpuDir()
		variables["SANDBOX_POD_RESOURCES"] = w.agent.devices.path
	}
	l := &launch{program: *c.program, arguments: arguments, variables: variables, dir: c.dir, mounts: mounts, proxyURL: w.agent.cfg.ProxyURL}
	for _, port := range c.spec.Ports {
		if port.Protocol == "" || port.Protocol == corev1.ProtocolTCP {
			l.ports = append(l.ports, port.ContainerPort)
		}
	}
	if dir, ok := serviceAccountDir(mounts); ok {
		l.kubeconfig = filepath.Join(c.dir, "kubeconfig")
		if err := w.writeKubeconfig(l.kubeconfig, dir); err != nil {
			return nil, err
		}
		if _, set := variables[clientcmd.RecommendedConfigPathEnvVar]; !set {
			variables[clientcmd.RecommendedConfigPathEnvVar] = l.kubeconfig
		}
	}
	if prepare := c.program.prepare; prepare != nil {
		if err := prepare(l); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// podMounts returns the mounts of all of the pod's containers, as
// podpath.FromEnvironment reads them: a reloader reads and writes for another
// container, by paths that only the other one mounts.
func (w *podWorker) podMounts() (string, error) {
	mounts := podpath.Mounts{}
	for _, c := range w.all() {
		own, err := w.volumes.mounts(c.spec)
		if err != nil {
			return "", err
		}
		for _, m := range own {
			if !slices.Contains(mounts, m) {
				mounts = append(mounts, m)
			}
		}
	}
	text, err := json.Marshal(mounts)
	if err != nil {
		return "", fmt.Errorf("cannot encode the pod's mounts: %w", err)
	}
	return string(text), nil
}

// writeKubeconfig stands for the in-cluster configuration: the pod's own
// ServiceAccount, at the API server's loopback address.
func (w *podWorker) writeKubeconfig(path, serviceAccountDir string) error {
	const name = "in-cluster"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: w.agent.cfg.Client.Host, CertificateAuthority: filepath.Join(serviceAccountDir, "ca.crt")}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{TokenFile: filepath.Join(serviceAccountDir, "token")}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: w.key.Namespace}
	config.CurrentContext = name
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("cannot store the pod's kubeconfig: %w", err)
	}
	return nil
}

// watchHealth starts the container's probes; without a startup or readiness
// probe it counts as started or ready at once.
func (w *podWorker) watchHealth(ctx context.Context, c *container) {
	probing, stop := context.WithCancel(ctx)
	c.stopProbes = stop
	c.started = c.spec.StartupProbe == nil
	c.ready = c.started && c.spec.ReadinessProbe == nil
	attempt := c.attempt
	whileCurrent := func(f func()) {
		w.post(func() {
			if c.attempt == attempt && c.process != nil && !w.terminating {
				f()
			}
		})
	}
	watch := func(kind string, spec *corev1.Probe, changed func(ok bool)) {
		go w.agent.prober.watch(probing, w.at.pod, c.spec, spec, func(ok bool, message string) {
			whileCurrent(func() {
				if !ok {
					w.agent.recorder.Eventf(w.pod(), corev1.EventTypeWarning, "Unhealthy", "%s probe failed: %s", kind, message)
				}
				changed(ok)
			})
		})
	}
	afterStartup := func() {
		if spec := c.spec.ReadinessProbe; spec != nil {
			watch("Readiness", spec, func(ok bool) { c.ready = ok })
		} else {
			c.ready = true
		}
		if spec := c.spec.LivenessProbe; spec != nil {
			watch("Liveness", spec, func(ok bool) {
				if !ok {
					w.restartUnhealthy(c, "liveness")
				}
			})
		}
	}
	if c.started {
		afterStartup()
		return
	}
	watch("Startup", c.spec.StartupProbe, func(ok bool) {
		switch {
		case !ok:
			w.restartUnhealthy(c, "startup")
		case !c.started:
			c.started = true
			afterStartup()
		}
	})
}

func (w *podWorker) restartUnhealthy(c *container, probe string) {
	w.stopWatching(c)
	c.ready = false
	w.agent.recorder.Eventf(w.pod(), corev1.EventTypeNormal, "Killing", "Container %s failed %s probe, will be restarted", c.spec.Name, probe)
	w.signal(c, syscall.SIGTERM)
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if g := w.pod().Spec.TerminationGracePeriodSeconds; g != nil {
		grace = *g
	}
	attempt := c.attempt
	time.AfterFunc(time.Duration(grace)*time.Second, func() {
		w.post(func() {
			if c.attempt == attempt && c.process != nil {
				w.signal(c, syscall.SIGKILL)
			}
		})
	})
}

func (w *podWorker) stopWatching(c *container) {
	if c.stopProbes != nil {
		c.stopProbes()
		c.stopProbes = nil
	}
}

// exited records the end of a run and decides on a restart.
func (w *podWorker) exited(c *container, attempt int32, e exit) {
	if c.process == nil || c.attempt != attempt {
		return
	}
	ran := time.Since(c.process.started)
	ended := &corev1.ContainerStateTerminated{
		ExitCode: e.code, Signal: e.signal, Reason: e.reason,
		StartedAt: metav1.NewTime(c.process.started), FinishedAt: metav1.Now(),
		ContainerID: fmt.Sprintf("process://%s/%s/%d", w.pod().UID, c.spec.Name, attempt),
	}
	w.stopWatching(c)
	c.process, c.started = nil, false
	c.ready = c.init && e.code == 0 && !c.sidecar()
	c.state = corev1.ContainerState{Terminated: ended}
	w.agent.log.Info("a container ended", "pod", w.key, "container", c.spec.Name, "exitCode", e.code)
	if w.terminating || !w.restarts(c, e) {
		return
	}
	delay := c.nextBackOff(ran)
	c.last = c.state
	c.restarts++
	if delay == 0 {
		c.pending = true
		return
	}
	message := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", delay, c.spec.Name, w.key.Name, w.key.Namespace, w.pod().UID)
	c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: message}}
	w.agent.recorder.Event(w.pod(), corev1.EventTypeWarning, "BackOff", message)
	time.AfterFunc(delay, func() { w.post(func() { c.pending = !w.terminating }) })
}

func (w *podWorker) restarts(c *container, e exit) bool {
	policy := w.pod().Spec.RestartPolicy
	switch {
	case c.sidecar():
		return true
	case c.init:
		return e.code != 0 && policy != corev1.RestartPolicyNever
	case policy == corev1.RestartPolicyOnFailure:
		return e.code != 0
	}
	return policy == corev1.RestartPolicyAlways
}
