package node_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/sandbox/workload"
)

// programVariable turns the test binary into the program of the tests' containers.
const programVariable = "NODE_TEST_PROGRAM"

// installProgram makes this test binary the program of Triton's image.
func installProgram(t *testing.T, binDir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(binDir, 0o700); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", programVariable, self)
	if err := os.WriteFile(filepath.Join(binDir, "tritonserver"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
}

// runProgram serves container port 8000 and does what it is told.
func runProgram() int {
	flags := flag.NewFlagSet("program", flag.ContinueOnError)
	repository := flags.String("model-repository", "", "")
	note := flags.String("note", "", "")
	unready := flags.Bool("unready", false, "")
	ignore := flags.Bool("ignore-sigterm", false, "")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return 2
	}
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	go func() {
		for range terminate {
			fmt.Println("got SIGTERM")
			if !*ignore {
				os.Exit(0)
			}
		}
	}()
	listeners, err := workload.Listeners()
	if err != nil || listeners[8000] == nil {
		fmt.Fprintln(os.Stderr, "no listener for port 8000:", err)
		return 1
	}
	var ready atomic.Bool
	ready.Store(!*unready)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /ready", func(http.ResponseWriter, *http.Request) { ready.Store(true) })
	mux.HandleFunc("POST /unready", func(http.ResponseWriter, *http.Request) { ready.Store(false) })
	mux.HandleFunc("POST /say", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(r.FormValue("text")) })
	mux.HandleFunc("GET /arguments", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Join(os.Args[1:], " ")) })
	mux.HandleFunc("GET /variables", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Join(os.Environ(), "\n")+"\n") })
	mux.HandleFunc("GET /read", func(w http.ResponseWriter, _ *http.Request) {
		content, err := os.ReadFile(*note)
		if err != nil || filepath.Dir(*note) != *repository {
			http.Error(w, fmt.Sprint(*repository, " ", err), http.StatusInternalServerError)
			return
		}
		w.Write(content)
	})
	exits := make(chan int, 1)
	mux.HandleFunc("POST /exit", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.FormValue("code"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		exits <- code
	})
	fmt.Println("the program is listening")
	server := &http.Server{Handler: mux}
	go server.Serve(listeners[8000])
	code := <-exits
	server.Shutdown(context.Background()) // the answer to /exit goes out first
	fmt.Println("exiting with", code)
	return code
}
