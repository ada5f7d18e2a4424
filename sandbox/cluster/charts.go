package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"sync"
	"time"
)

// ChartFault is what the chart repository does wrong, for tests.
type ChartFault struct {
	// Kind is one of none, corrupt (packages are damaged on the way), missing
	// (packages of the index aren't there) and unavailable (503 for everything).
	Kind  string        `json:"kind"`
	Delay time.Duration `json:"delay"` // before each answer
}

// Validate tells whether there is such a fault.
func (f ChartFault) Validate() error {
	switch f.Kind {
	case "none", "corrupt", "missing", "unavailable":
	default:
		return fmt.Errorf("%q is not a fault of the chart repository; use none, corrupt, missing or unavailable", f.Kind)
	}
	if f.Delay < 0 {
		return errors.New("the delay of the chart repository can't be negative")
	}
	return nil
}

// chartRepository serves the packaged stand-in charts to Helm.
type chartRepository struct {
	dir string

	mu    sync.Mutex
	fault ChartFault
}

// start serves the repository on loopback and returns its URL.
func (c *chartRepository) start(failed chan<- error) (string, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot open a loopback port for the chart repository: %w", err)
	}
	server := &http.Server{Handler: c, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("the chart repository stopped: %w", err)
		}
	}()
	return "http://" + listener.Addr().String(), nil
}

func (c *chartRepository) set(f ChartFault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
}

func (c *chartRepository) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	fault := c.fault
	c.mu.Unlock()
	if fault.Delay > 0 {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(fault.Delay):
		}
	}
	name := path.Clean("/" + r.URL.Path)[1:]
	isPackage := path.Ext(name) == ".tgz"
	if fault.Kind == "unavailable" {
		http.Error(w, "the chart repository is out of order, as it was told to be", http.StatusServiceUnavailable)
		return
	}
	if !fs.ValidPath(name) || (isPackage && fault.Kind == "missing") {
		http.NotFound(w, r)
		return
	}
	content, err := fs.ReadFile(os.DirFS(c.dir), name)
	if err != nil {
		http.Error(w, fmt.Sprintf("there is no %s: package the charts with make charts", name), http.StatusNotFound)
		return
	}
	if isPackage && fault.Kind == "corrupt" {
		for i := len(content) / 2; i < min(len(content), len(content)/2+64); i++ {
			content[i] ^= 0xff
		}
	}
	if isPackage {
		w.Header().Set("Content-Type", "application/gzip")
	} else {
		w.Header().Set("Content-Type", "application/yaml")
	}
	_, _ = w.Write(content) // the client may be gone
}
