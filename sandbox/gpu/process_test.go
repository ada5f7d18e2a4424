package gpu

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const childEnv = "GPU_TEST_CHILD_DIR"

// child is another process on the node. It obeys commands on its standard
// input and confirms each.
func child() int {
	a, err := OpenAccounting(os.Getenv(childEnv), testUUID, "child")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		switch command := commands.Text(); command {
		case "begin":
			a.Begin()
		case "end":
			a.End()
		case "hammer":
			for range 20000 {
				a.Begin()
				a.End()
			}
		case "close":
			if err := a.Close(); err != nil {
				fmt.Println(err)
				return 1
			}
		default:
			var bytes uint64
			if _, err := fmt.Sscanf(command, "memory %d", &bytes); err != nil {
				fmt.Println(err)
				return 1
			}
			a.SetMemoryBytes(bytes)
		}
		fmt.Println(commands.Text())
	}
	return 0
}

type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startProcess(t *testing.T, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p.confirm("open")
	return p
}

func (p *process) confirm(want string) {
	p.t.Helper()
	if !p.out.Scan() || p.out.Text() != want {
		p.t.Fatalf("the process said %q, want %q (%v)", p.out.Text(), want, p.out.Err())
	}
}

func (p *process) do(command string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		p.t.Fatal(err)
	}
	p.confirm(command)
}

// kill ends the process as the kernel's out-of-memory killer would. It is left
// a zombie, as a container's process is until its parent looks.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	if p.out.Scan() {
		p.t.Fatalf("the killed process said %q", p.out.Text())
	}
}

func TestTwoProcessesShareADevice(t *testing.T) {
	dir := testNode(t)
	one, two := startProcess(t, dir), startProcess(t, dir)
	one.do("memory 1000")
	two.do("memory 234")
	one.do("begin")
	two.do("begin")
	tel := watch(t, dir)
	if s := sampleAt(t, tel, time.Now().Add(time.Second)); s.MemoryUsedBytes != 1234 || s.Utilization != 1 {
		t.Errorf("both in a kernel: %+v", s)
	}
	one.do("end")
	if s := sampleAt(t, tel, time.Now().Add(2*time.Second)); s.Utilization != 1 {
		t.Errorf("one still in a kernel: utilisation %g, want 1", s.Utilization)
	}
	two.do("end")
	two.do("close")
	tel = watch(t, dir)
	if s := sampleAt(t, tel, time.Now().Add(time.Second)); s.MemoryUsedBytes != 1000 || s.Utilization != 0 {
		t.Errorf("both idle, one closed: %+v", s)
	}
}

func TestProcessesCompetingForTheClock(t *testing.T) {
	dir := testNode(t)
	tel := watch(t, dir)
	begun := time.Now()
	a := attach(t, dir, testUUID)
	p := startProcess(t, dir)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for range 20000 {
			a.Begin()
			a.End()
		}
	}()
	p.do("hammer")
	<-finished
	s := sampleNow(t, tel)
	if elapsed := time.Since(begun).Seconds(); s.BusySeconds <= 0 || s.BusySeconds > elapsed {
		t.Errorf("busy for %g s of %g s", s.BusySeconds, elapsed)
	}
	if word := a.mapping.state.clock.Load(); word&^valueMask != 0 {
		t.Errorf("kernels still open: %x", word)
	}
}

func TestProcessKilledInAKernel(t *testing.T) {
	dir := testNode(t)
	tel := watch(t, dir)
	p := startProcess(t, dir)
	p.do("memory 5000")
	p.do("begin")
	if s := sampleNow(t, tel); s.MemoryUsedBytes != 5000 {
		t.Errorf("before: %+v", s)
	}
	p.kill()
	// The pipe closes shortly before the process is a zombie.
	after := sampleNow(t, tel)
	for deadline := time.Now().Add(10 * time.Second); after.MemoryUsedBytes != 0; after = sampleNow(t, tel) {
		if time.Now().After(deadline) {
			t.Fatalf("the killed process still holds memory: %+v", after)
		}
	}
	later := sampleAt(t, tel, time.Now().Add(time.Hour))
	if later.Utilization > 0.001 || later.BusySeconds != after.BusySeconds {
		t.Errorf("the killed process keeps the device busy: %+v, then %+v", after, later)
	}
	if later.EnergyJ < after.EnergyJ {
		t.Errorf("energy fell from %g to %g J", after.EnergyJ, later.EnergyJ)
	}
	for range maxProcesses {
		attach(t, dir, testUUID)
	}
}

func TestLivingProcessesCleanUpAfterKilledOnes(t *testing.T) {
	dir := testNode(t)
	a := attach(t, dir, testUUID)
	p := startProcess(t, dir)
	p.do("begin")
	p.kill()
	state := a.mapping.state
	for deadline := time.Now().Add(10 * time.Second); state.clock.Load()&^valueMask != 0; time.Sleep(heartbeat / 10) {
		if time.Now().After(deadline) {
			t.Fatalf("the killed process's kernel is still open: %s", strings.TrimSpace(fmt.Sprintf("%x", state.clock.Load())))
		}
	}
}
