package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

// The daemon takes orders on a Unix socket in the instance's directory, which
// only its user may enter.

func (i Instance) controlSocket() string { return filepath.Join(i.Dir, "control.sock") }

// serveControl answers the functions below until the process ends.
func (d *daemon) serveControl(running context.Context, failed chan<- error) error {
	listener, err := net.Listen("unix", d.instance.controlSocket())
	if err != nil {
		return fmt.Errorf("cannot open the daemon's control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apiserver/outage", func(w http.ResponseWriter, r *http.Request) {
		var order outage
		if !decodeOrder(w, r, &order) {
			return
		}
		d.log.Info("the API server is unreachable for a while, as ordered", "for", order.For)
		if err := d.control.Outage(running, order.For); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("PUT /charts/fault", func(w http.ResponseWriter, r *http.Request) {
		var fault ChartFault
		if !decodeOrder(w, r, &fault) {
			return
		}
		if err := fault.Validate(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		d.charts.set(fault)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("the daemon's control socket failed: %w", err)
		}
	}()
	return nil
}

type outage struct {
	For time.Duration `json:"for"`
}

func decodeOrder(w http.ResponseWriter, r *http.Request, order any) bool {
	if err := json.NewDecoder(r.Body).Decode(order); err != nil {
		http.Error(w, "the order is not valid: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// RestartAPIServer makes the instance's API server unreachable for a while and
// returns when it answers again.
func (i Instance) RestartAPIServer(ctx context.Context, duration time.Duration) error {
	if duration <= 0 {
		return errors.New("the API server must be away for longer than zero")
	}
	return i.order(ctx, http.MethodPost, "/apiserver/outage", outage{For: duration})
}

// SetChartFault has the instance's chart repository work badly, or well again.
func (i Instance) SetChartFault(ctx context.Context, fault ChartFault) error {
	if err := fault.Validate(); err != nil {
		return err
	}
	return i.order(ctx, http.MethodPut, "/charts/fault", fault)
}

// ChartsURL returns the address of the instance's chart repository.
func (i Instance) ChartsURL() (string, error) {
	r, err := i.readRecord()
	if err != nil {
		return "", fmt.Errorf("there is no sandbox %s; start it with `sandbox up --name %s`: %w", i.Name, i.Name, err)
	}
	if r.ChartsURL == "" {
		return "", fmt.Errorf("the sandbox %s is not ready yet", i.Name)
	}
	return r.ChartsURL, nil
}

func (i Instance) order(ctx context.Context, method, path string, order any) error {
	body, err := json.Marshal(order)
	if err != nil {
		return fmt.Errorf("cannot encode the order: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("cannot make the order: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", i.controlSocket())
	}, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the sandbox %s does not take orders; is it running? (%w)", i.Name, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<12)) // the status says enough without it
		return fmt.Errorf("the sandbox %s refused the order: %s", i.Name, bytes.TrimSpace(text))
	}
	return nil
}
