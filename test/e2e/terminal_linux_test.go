//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal starts cmd on a terminal of its own, as wide as a person's: its
// streams, its controlling terminal and the group that Ctrl-C goes to. What it
// shows ends up in the returned buffer. Asked for its background colour, it
// answers with the one given, in the form rgb:ffff/ffff/ffff.
func terminal(t *testing.T, cmd *exec.Cmd, columns uint16, background string) (*os.File, *shown) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	must(t, func() error { return unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0) })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	must(t, func() error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: columns}) })
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(cmd.Env, "TERM=xterm-256color", "LANG=C.UTF-8")
	if err := cmd.Start(); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", cmd, err))
	}
	slave.Close()
	screen := &shown{}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			_, _ = screen.Write(buffer[:n])
			// Real terminals answer in the order of the questions.
			if bytes.Contains(buffer[:n], []byte("\x1b]11;?")) {
				_, _ = master.WriteString("\x1b]11;" + background + "\x1b\\")
			}
			if bytes.Contains(buffer[:n], []byte("\x1b[6n")) {
				_, _ = master.WriteString("\x1b[1;1R")
			}
			if err != nil {
				return // the last process has left the terminal
			}
		}
	}()
	t.Cleanup(func() {
		master.Close()
		<-copied
	})
	return master, screen
}
