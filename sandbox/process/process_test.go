package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20"
	tests := []struct {
		name, content string
		want          uint64
		wantErr       bool
	}{
		{name: "plain", content: "12 (sleep)" + tail, want: 98765},
		{name: "name with spaces and parentheses", content: "12 (a) b (c)" + tail, want: 98765},
		{name: "no name", content: "12 sleep", wantErr: true},
		{name: "too short", content: "12 (sleep) S 1 2", wantErr: true},
		{name: "start time is no number", content: "12 (sleep) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x", wantErr: true},
		{name: "empty", content: "", wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat([]byte(tt.content))
			if (err != nil) != tt.wantErr {
				t.Fatalf("error = %v, want error: %v", err, tt.wantErr)
			}
			if got.startTicks != tt.want {
				t.Errorf("start = %d, want %d", got.startTicks, tt.want)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (sleep) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20"))
	f.Fuzz(func(t *testing.T, content []byte) {
		stat, err := parseStat(content)
		if err == nil && (stat.state < 'A' || stat.state > 'z') {
			t.Errorf("accepted a stat file with state %q", stat.state)
		}
	})
}

func startSleep(t *testing.T, s *Starter) (*exec.Cmd, ID) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := s.Start(cmd); err != nil {
		t.Fatal(err)
	}
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, id
}

func TestKillRecordedEndsOnlyTheRecordedProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pids")
	s, err := NewStarter(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cmd, id := startSleep(t, s)
	other := exec.Command("sleep", "600")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { other.Process.Kill(); other.Wait() }()
	// A record of a process that ended, whose pid another one has now.
	if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(other.Process.Pid)), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := KillRecorded(dir); err != nil {
		t.Fatal(err)
	}
	if id.Alive() {
		t.Error("the recorded process is alive")
	}
	survivor, err := Identify(other.Process.Pid)
	if err != nil || !survivor.Alive() {
		t.Errorf("a process that only shares a recorded pid was killed (%v)", err)
	}
	s.Wait(cmd)
	if _, err := os.Stat(filepath.Join(dir, strconv.Itoa(cmd.Process.Pid))); err == nil {
		t.Error("the record of an ended process was kept")
	}
}

func TestWaitKillsTheRestOfTheGroup(t *testing.T) {
	s, err := NewStarter(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("sh", "-c", "sleep 600 & echo $!")
	cmd.Stdout = w
	if err := s.Start(cmd); err != nil {
		t.Fatal(err)
	}
	w.Close()
	buf := make([]byte, 32)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(buf[:n-1]))
	if err != nil {
		t.Fatal(err)
	}
	grandchild, err := Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(cmd); err != nil {
		t.Fatal(err)
	}
	if !grandchild.WaitGone(10 * time.Second) {
		t.Error("a grandchild outlived its group's leader")
	}
}

// TestChildrenDieWithTheStartersProcess kills a process that started a child.
func TestChildrenDieWithTheStartersProcess(t *testing.T) {
	if dir := os.Getenv("PROCESS_TEST_RECORDS"); dir != "" {
		s, err := NewStarter(dir)
		if err != nil {
			t.Fatal(err)
		}
		startSleep(t, s)
		os.Stdout.WriteString("started\n")
		select {}
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self, "-test.run=^TestChildrenDieWithTheStartersProcess$")
	parent.Env = append(os.Environ(), "PROCESS_TEST_RECORDS="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("records = %v, %v; want one", entries, err)
	}
	pid, err := strconv.Atoi(entries[0].Name())
	if err != nil {
		t.Fatal(err)
	}
	child, err := Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	parent.Wait()
	if !child.WaitGone(10 * time.Second) {
		child.KillGroup()
		t.Error("the child outlived a parent that was killed")
	}
}
