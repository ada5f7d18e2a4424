package triton

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/kubectl-triton/kubectl-triton/sandbox/gpu"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/modelconfig"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/wire"
)

// ControlPort is the container port of the control API, beside Triton's own.
const ControlPort = 8003

// Config is what the program's environment gives a server.
type Config struct {
	Args      []string             // tritonserver's
	Listeners map[int]net.Listener // by container port; what is missing is opened on 127.0.0.1 if there are none at all
	Log       io.Writer

	GPUDirectory string   // of the node's GPU simulator; empty without GPUs
	GPUs         []string // UUIDs of the devices of this container
	Process      string   // names this server in the GPU's accounts

	Crash func() // ends the process at once
}

// Server is a running simulator.
type Server struct {
	settings  *settings
	log       *logger
	core      *core.Server
	accounts  []*gpu.Accounting
	telemetry *gpu.Telemetry

	listeners map[int]net.Listener
	http      *wire.Server
	metrics   *wire.Server
	grpc      *grpc.Server
	control   *http.Server

	stop     chan struct{}
	running  sync.WaitGroup
	stopping sync.Once
	stopped  error
}

// Start loads the models and serves. It returns an error if a model can't be
// loaded, unless --exit-on-error=false.
func Start(config Config) (*Server, error) {
	settings, err := parseFlags(config.Args)
	if err != nil {
		return nil, errors.Join(err, closeAll(config.Listeners))
	}
	s := &Server{settings: settings, log: newLogger(config.Log), listeners: config.Listeners, stop: make(chan struct{})}
	if err := s.start(config); err != nil {
		return nil, errors.Join(err, s.abandon())
	}
	return s, nil
}

func (s *Server) start(config Config) error {
	models := map[string]*modelconfig.Model{}
	for _, path := range s.settings.repositories {
		found, err := modelconfig.ReadRepository(path)
		if err != nil {
			return err
		}
		maps.Copy(models, found)
	}
	devices, err := s.openDevices(config)
	if err != nil {
		return err
	}
	s.core = core.NewServer(core.Options{
		Models: models, Devices: devices, Metrics: s.settings.metrics, CacheBytes: s.settings.cacheBytes,
		LooseReadiness: !s.settings.strictReady,
	})
	s.log.started(devices)
	if err := s.loadModels(); err != nil {
		return err
	}
	if len(s.listeners) == 0 {
		if s.listeners, err = s.listen(); err != nil {
			return err
		}
	}
	s.serve(config)
	return nil
}

func (s *Server) openDevices(config Config) ([]core.Device, error) {
	if config.GPUDirectory == "" || len(config.GPUs) == 0 {
		return nil, nil
	}
	var devices []core.Device
	for i, uuid := range config.GPUs {
		account, err := gpu.OpenAccounting(config.GPUDirectory, uuid, config.Process)
		if err != nil {
			return nil, err
		}
		s.accounts = append(s.accounts, account)
		devices = append(devices, core.Device{Index: int32(i), UUID: uuid, Meter: account})
	}
	var err error
	s.telemetry, err = gpu.NewTelemetry(config.GPUDirectory)
	return devices, err
}

// loadModels loads all models, or those that --load-model names.
func (s *Server) loadModels() error {
	names := s.core.Names()
	if s.settings.control == "explicit" && !slices.Contains(s.settings.load, "*") {
		names = s.settings.load
	}
	failed := false
	for _, name := range names {
		s.log.info("model_lifecycle.cc", 473, "loading: "+name+":1")
		if err := s.core.Load(name, nil); err != nil {
			s.log.error("model_lifecycle.cc", 654, err.Message)
			failed = true
			continue
		}
		s.log.info("model_lifecycle.cc", 849, "successfully loaded '"+name+"'")
	}
	s.log.models(s.core.Index(false))
	if failed && s.settings.exitOnError {
		return errors.New("creating server: Internal - failed to load all models")
	}
	return nil
}

func (s *Server) listen() (map[int]net.Listener, error) {
	listeners := map[int]net.Listener{}
	for _, port := range []int{s.settings.httpPort, s.settings.grpcPort, s.settings.metricsPort, ControlPort} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen for port %d: %w", port, err), closeAll(listeners))
		}
		listeners[port] = l
	}
	return listeners, nil
}

func (s *Server) serve(config Config) {
	explicit := s.settings.control == "explicit"
	logging := newLogSettings(s.settings.verbose)
	if l := s.listeners[s.settings.grpcPort]; l != nil && s.settings.allowGRPC {
		s.grpc = newGRPCServer(&grpcAPI{core: s.core, explicit: explicit, logging: logging, restrict: s.settings.grpcRestricted})
		s.log.info("grpc_server.cc", 2558, "Started GRPCInferenceService at "+l.Addr().String())
		s.running.Go(func() { s.report(s.grpc.Serve(l)) })
	}
	if l := s.listeners[s.settings.httpPort]; l != nil && s.settings.allowHTTP {
		api := &httpAPI{core: s.core, explicit: explicit, logging: logging, restrict: s.settings.httpRestricted, maxInput: s.settings.maxInput}
		s.http = &wire.Server{Handler: api.serve, MaxBodyBytes: s.settings.maxInput}
		s.log.info("http_server.cc", 4739, "Started HTTPService at "+l.Addr().String())
		s.running.Go(func() { s.report(s.http.Serve(l)) })
	}
	if l := s.listeners[s.settings.metricsPort]; l != nil && s.settings.allowMetrics {
		host := newHostMonitor(s.telemetry, config.GPUs)
		s.running.Go(func() { host.run(s.settings.interval, s.stop, s.report) })
		api := &metricsAPI{
			core: s.core, options: s.settings.metrics, quantiles: s.settings.quantiles, host: host,
			showGPU: s.settings.allowGPU, showCPU: s.settings.allowCPU,
		}
		s.metrics = &wire.Server{Handler: api.serve, MaxBodyBytes: 1 << 20}
		s.log.info("http_server.cc", 362, "Started Metrics Service at "+l.Addr().String())
		s.running.Go(func() { s.report(s.metrics.Serve(l)) })
	}
	if l := s.listeners[ControlPort]; l != nil {
		api := &controlAPI{core: s.core, crash: config.Crash}
		s.control = &http.Server{Handler: api.handler(), ReadHeaderTimeout: 10 * time.Second}
		s.log.info("sandbox", 1, "Started the simulator's control port at "+l.Addr().String())
		s.running.Go(func() {
			if err := s.control.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.report(err)
			}
		})
	}
}

func (s *Server) report(err error) {
	if err != nil {
		s.log.error("sandbox", 1, err.Error())
	}
}

// Address is where a container port is served, or empty.
func (s *Server) Address(port int) string {
	if l := s.listeners[port]; l != nil {
		return l.Addr().String()
	}
	return ""
}

// Stop ends the server as Triton does on SIGTERM: what comes from now on is
// cut, what is in flight is finished, for at most --exit-timeout-secs.
// Further calls wait for the first and return what it did.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping.Do(func() { s.stopped = s.shutDown(ctx) })
	return s.stopped
}

func (s *Server) shutDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.settings.exitTimeout)
	defer cancel()
	s.log.info("server.cc", 305, "Waiting for in-flight requests to complete.")
	s.log.info("server.cc", 321, fmt.Sprintf("Timeout %d: Found %d model versions that have in-flight inferences",
		int(s.settings.exitTimeout.Seconds()), s.core.InFlight()))
	var stopping sync.WaitGroup
	if s.grpc != nil {
		stopping.Go(func() { s.stopGRPC(ctx) })
	}
	for _, server := range []*wire.Server{s.http, s.metrics} {
		if server != nil {
			stopping.Go(func() { server.Shutdown(ctx) })
		}
	}
	stopping.Wait()
	s.log.info("server.cc", 336, "All models are stopped, unloading models")
	return s.abandon()
}

func (s *Server) stopGRPC(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
}

// abandon frees everything that start took.
func (s *Server) abandon() error {
	close(s.stop)
	var err error
	if s.control != nil {
		err = errors.Join(err, s.control.Close())
	}
	err = errors.Join(err, closeAll(s.listeners))
	s.running.Wait()
	if s.core != nil {
		err = errors.Join(err, s.core.Close())
	}
	if s.telemetry != nil {
		err = errors.Join(err, s.telemetry.Close())
	}
	for _, a := range s.accounts {
		err = errors.Join(err, a.Close())
	}
	return err
}

func closeAll(listeners map[int]net.Listener) error {
	var err error
	for _, l := range listeners {
		if closeErr := l.Close(); !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	return err
}
