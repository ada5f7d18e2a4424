package grafana

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Version is what the health endpoint reports.
const Version = "13.2.1"

// Config says how a Server starts.
type Config struct {
	AdminUser, AdminPassword string
	// Tokens are service-account tokens and their roles.
	Tokens map[string]Role
	// DataDir keeps the state across restarts; empty keeps it in memory. As in
	// Grafana, the administrator's password is taken from the configuration
	// only when the state is new.
	DataDir string
	// DashboardsDir holds JSON files of dashboards, in one directory per folder.
	DashboardsDir string
	// Provisioning is nil for an instance that has no such files.
	Provisioning *Provisioning
	// PrometheusURL is that of the one data source when none is provisioned.
	PrometheusURL string
	Log           *slog.Logger
	Now           func() time.Time // nil: time.Now
}

// Server is one Grafana instance.
type Server struct {
	cfg       Config
	log       *slog.Logger
	now       func() time.Time
	store     *store
	behaviour behaviour
	sources   atomic.Pointer[[]map[string]any] // as provisioned; nil or empty: the one of the configuration
}

// New loads the state and the provisioned dashboards.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, log: cfg.Log, now: cfg.Now}
	s.cfg.AdminUser = cmp.Or(cfg.AdminUser, "admin")
	s.cfg.AdminPassword = cmp.Or(cfg.AdminPassword, "admin")
	s.cfg.PrometheusURL = cmp.Or(cfg.PrometheusURL, "http://prometheus-operated.monitoring:9090/")
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	var err error
	if s.store, err = openStore(cfg.DataDir, s.cfg.AdminPassword); err != nil {
		return nil, err
	}
	if err := errors.Join(s.ReloadDashboards(), s.ReloadDataSources()); err != nil {
		return nil, err
	}
	return s, nil
}

// Handler serves Grafana's own port.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.pages(mux)
	s.annotationRoutes(mux)
	s.dashboardRoutes(mux)
	s.folderRoutes(mux)
	s.instanceRoutes(mux)
	s.provisioningRoutes(mux)
	return s.logged(s.behaviour.wrap(withoutTrailingSlash(mux)))
}

// Control serves the sandbox's port for tests.
func (s *Server) Control() http.Handler { return s.behaviour.control() }

// route serves a path to everybody who has the permission.
func (s *Server) route(mux *http.ServeMux, pattern, permission string, handle func(w http.ResponseWriter, r *http.Request, by identity)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		by, fault := s.authenticate(r)
		if fault == nil {
			fault = authorise(by, permission)
		}
		if fault != nil {
			fault.write(w)
			return
		}
		handle(w, r, by)
	})
}

func (s *Server) pages(mux *http.ServeMux) {
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusNotFound, map[string]any{"message": "Not found"})
	})
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		_, _ = w.Write([]byte("<!DOCTYPE html><html><head><title>Grafana</title></head><body>Welcome to Grafana. This is the sandbox's stand-in: it has the HTTP API only.</body></html>\n"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/login", http.StatusFound)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("Ok")) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		dashboards := 0
		s.store.view(func(st *state) { dashboards = len(st.Dashboards) })
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = fmt.Fprintf(w, "# TYPE grafana_build_info gauge\ngrafana_build_info{version=%q} 1\n# TYPE grafana_stat_totals_dashboard gauge\ngrafana_stat_totals_dashboard %d\n", Version, dashboards)
	})
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, map[string]any{"commit": "sandbox", "database": "ok", "version": Version})
	})
}

func withoutTrailingSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if trimmed := strings.TrimRight(r.URL.Path, "/"); trimmed != "" && trimmed != r.URL.Path {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = trimmed, ""
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := s.now()
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		s.log.Info("Request Completed", "method", r.Method, "path", r.URL.Path, "status", recorder.status, "duration", s.now().Sub(begun).String())
	})
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
