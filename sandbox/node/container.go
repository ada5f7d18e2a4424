package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-triton/kubectl-triton/sandbox/process"
	"github.com/kubectl-triton/kubectl-triton/sandbox/workload"
)

// container is one container of a pod, over all its restarts. It belongs to
// the goroutine of its pod's worker.
type container struct {
	spec    *corev1.Container
	init    bool
	program *program // nil for an unknown image
	gpus    []string
	dir     string // working directory and logs

	pending  bool // is to be started as soon as its turn comes
	restarts int32
	attempt  int32 // numbers the logs
	state    corev1.ContainerState
	last     corev1.ContainerState
	started  bool
	ready    bool
	crashes  int // since it last ran for long

	pullBackOff time.Duration

	process    *runningProcess
	stopProbes func()
}

func (c *container) logPath(attempt int32) string {
	return filepath.Join(c.dir, strconv.Itoa(int(attempt))+".log")
}

// sidecar reports whether an init container keeps running beside the others.
func (c *container) sidecar() bool {
	return c.init && c.spec.RestartPolicy != nil && *c.spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func (c *container) succeeded() bool {
	return c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
}

// Back-off of a container that keeps ending, as the kubelet's: the first
// restart is immediate, the following ones wait 10 s, 20 s, … up to 5 min, and
// running for ten minutes clears the record.
const (
	firstBackOff = 10 * time.Second
	maxBackOff   = 5 * time.Minute
	backOffReset = 2 * maxBackOff
)

func (c *container) nextBackOff(ran time.Duration) time.Duration {
	if ran >= backOffReset {
		c.crashes = 0
	}
	c.crashes++
	if c.crashes == 1 {
		return 0
	}
	delay := firstBackOff
	for range c.crashes - 2 {
		if delay *= 2; delay >= maxBackOff {
			return maxBackOff
		}
	}
	return delay
}

// runningProcess is one run of a container's program.
type runningProcess struct {
	cmd     *exec.Cmd
	started time.Time
}

// exit is how a run ended, in the terms of a container status.
type exit struct {
	code   int32
	signal int32
	reason string
}

// starting holds what a process needs from its pod and node.
type starting struct {
	launch  launch
	log     *containerLog
	podIP   netip.Addr
	network *Network
	starter *process.Starter
	binDir  string
	ended   func(exit) // called once, from another goroutine
}

// startProcess starts a container's program. Its ports are published on the
// network until it ends. It takes over the log and closes it in the end.
func startProcess(s starting) (*runningProcess, error) {
	cmd := exec.Command(s.launch.program.executable(s.binDir), s.launch.arguments...)
	cmd.Dir = s.launch.dir
	cmd.WaitDelay = time.Second // a grandchild that keeps the output open doesn't keep the container alive
	stdout, stderr := s.log.stream("stdout"), s.log.stream("stderr")
	cmd.Stdout, cmd.Stderr = stdout, stderr

	var listeners []net.Listener
	var inherited []*os.File
	defer func() {
		// The agent keeps no copies: a dead process's ports must refuse connections.
		for _, l := range listeners {
			l.Close()
		}
		for _, f := range inherited {
			f.Close()
		}
	}()
	variables := s.launch.variables
	if s.launch.program.announcement == nil && len(s.launch.ports) > 0 {
		var names []string
		for _, port := range s.launch.ports {
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return nil, errors.Join(fmt.Errorf("cannot open a loopback port for container port %d: %w", port, err), s.log.close())
			}
			listeners = append(listeners, l)
			f, err := l.(*net.TCPListener).File()
			if err != nil {
				return nil, errors.Join(fmt.Errorf("cannot pass on the listener of container port %d: %w", port, err), s.log.close())
			}
			inherited = append(inherited, f)
			names = append(names, strconv.Itoa(int(port)))
		}
		variables[workload.EnvCount] = strconv.Itoa(len(names))
		variables[workload.EnvNames] = strings.Join(names, ":")
	}
	cmd.ExtraFiles = inherited
	cmd.Env = environ(variables)
	if pattern := s.launch.program.announcement; pattern != nil {
		s.log.onLine = func(line []byte) {
			if match := pattern.FindSubmatch(line); match != nil {
				for _, port := range s.launch.ports {
					s.network.publish(s.podIP, port, string(match[1]))
				}
			}
		}
	}
	if err := s.starter.Start(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start %s: %w", s.launch.program.name, err), s.log.close())
	}
	for i, l := range listeners {
		s.network.publish(s.podIP, s.launch.ports[i], l.Addr().String())
	}
	p := &runningProcess{cmd: cmd, started: time.Now()}
	go func() {
		err := s.starter.Wait(cmd)
		for _, port := range s.launch.ports {
			s.network.withdraw(s.podIP, port)
		}
		_ = errors.Join(stdout.Close(), stderr.Close(), s.log.close()) // the log is complete as far as it could be written
		s.ended(exitOf(cmd.ProcessState, err))
	}()
	return p, nil
}

func exitOf(state *os.ProcessState, err error) exit {
	if state == nil {
		return exit{code: 128, reason: fmt.Sprintf("Error: %v", err)}
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled():
		// As a shell and a container runtime report a signal.
		return exit{code: 128 + int32(status.Signal()), signal: int32(status.Signal()), reason: "Error"}
	case state.ExitCode() == 0:
		return exit{reason: "Completed"}
	}
	return exit{code: int32(state.ExitCode()), reason: "Error"}
}

// signal sends sig to the whole process group.
func (p *runningProcess) signal(sig syscall.Signal) error {
	if err := syscall.Kill(-p.cmd.Process.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("cannot send %s to the process group %d: %w", sig, p.cmd.Process.Pid, err)
	}
	return nil
}

func environ(variables map[string]string) []string {
	list := make([]string, 0, len(variables))
	for name, value := range variables {
		list = append(list, name+"="+value)
	}
	sort.Strings(list)
	return list
}
