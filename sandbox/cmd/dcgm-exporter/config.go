package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	envGPUDir       = "SANDBOX_GPU_DIR"
	envPodResources = "SANDBOX_POD_RESOURCES"
	envFieldNames   = "DCGM_EXPORTER_FIELD_NAMES"

	defaultCollectorsFile = "/etc/dcgm-exporter/default-counters.csv"
)

// generation is a generation of metric names, by the exporter release that
// began it.
type generation string

const (
	names48 generation = "4.8"
	names49 generation = "4.9"
)

type config struct {
	collectorsFile           string
	collectInterval          time.Duration
	port                     string
	kubernetes               bool
	noHostname               bool
	replaceBlanksInModel     bool
	generation               generation
	hostname                 string
	gpuDir, podResourcesFile string
}

// parseConfig reads flags, then environment variables, then defaults, in that
// order of precedence.
func parseConfig(args []string, getenv func(string) string, usage io.Writer) (config, error) {
	p := &parser{set: flag.NewFlagSet("dcgm-exporter", flag.ContinueOnError), getenv: getenv}
	p.set.SetOutput(usage)
	var cfg config
	var intervalMS int
	var address, names string
	p.string(&cfg.collectorsFile, defaultCollectorsFile, "DCGM_EXPORTER_COLLECTORS", "file of the DCGM fields to collect, as CSV", "collectors", "f")
	p.string(&address, ":9400", "DCGM_EXPORTER_LISTEN", "listen address as host:port; in the sandbox it selects the container port", "address", "a")
	p.int(&intervalMS, 30000, "DCGM_EXPORTER_INTERVAL", "interval between two refreshes of the values, in milliseconds", "collect-interval", "c")
	p.bool(&cfg.kubernetes, "DCGM_EXPORTER_KUBERNETES", "add the container, namespace and pod that hold a GPU", "kubernetes", "k")
	p.bool(&cfg.noHostname, "DCGM_EXPORTER_NO_HOSTNAME", "omit the host name", "no-hostname", "n")
	p.bool(&cfg.replaceBlanksInModel, "DCGM_EXPORTER_REPLACE_BLANKS_IN_MODEL_NAME", "write model names with dashes instead of blanks", "replace-blanks-in-model-name", "rbmn")
	p.string(&names, string(names48), envFieldNames, "sandbox only: the exporter release whose metric names are used, 4.8 or 4.9", "field-names")
	if err := p.parse(args); err != nil {
		return config{}, err
	}

	switch cfg.generation = generation(names); cfg.generation {
	case names48, names49:
	default:
		return config{}, fmt.Errorf("--field-names is %q; it takes %s or %s", names, names48, names49)
	}
	if intervalMS <= 0 {
		return config{}, fmt.Errorf("--collect-interval is %d; it takes a positive number of milliseconds", intervalMS)
	}
	cfg.collectInterval = time.Duration(intervalMS) * time.Millisecond
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return config{}, fmt.Errorf("--address is %q; it takes host:port: %w", address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strings.ContainsAny(host, " /") {
		return config{}, fmt.Errorf("--address is %q; it takes host:port with a port from 1 to 65535", address)
	}
	cfg.port = port
	if !cfg.noHostname {
		cfg.hostname = getenv("NODE_NAME")
		if cfg.hostname == "" {
			if cfg.hostname, err = os.Hostname(); err != nil {
				return config{}, fmt.Errorf("find this node's name: %w", err)
			}
		}
	}
	cfg.gpuDir, cfg.podResourcesFile = getenv(envGPUDir), getenv(envPodResources)
	return cfg, nil
}

// parser defines flags that have an environment variable and other spellings.
type parser struct {
	set    *flag.FlagSet
	getenv func(string) string
	errs   []error
}

func (p *parser) string(to *string, value, env, usage string, names ...string) {
	if v := p.getenv(env); v != "" {
		value = v
	}
	for _, name := range names {
		p.set.StringVar(to, name, value, usage+" ($"+env+")")
	}
}

func (p *parser) int(to *int, value int, env, usage string, names ...string) {
	if v := p.getenv(env); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			p.errs = append(p.errs, fmt.Errorf("%s is %q; it takes a whole number", env, v))
		}
		value = n
	}
	for _, name := range names {
		p.set.IntVar(to, name, value, usage+" ($"+env+")")
	}
}

func (p *parser) bool(to *bool, env, usage string, names ...string) {
	value := false
	if v := p.getenv(env); v != "" {
		b, err := strconv.ParseBool(v)
		if err != nil {
			p.errs = append(p.errs, fmt.Errorf("%s is %q; it takes true or false", env, v))
		}
		value = b
	}
	for _, name := range names {
		p.set.BoolVar(to, name, value, usage+" ($"+env+")")
	}
}

func (p *parser) parse(args []string) error {
	if err := p.set.Parse(args); err != nil {
		return err
	}
	if p.set.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; the exporter takes flags only", p.set.Arg(0))
	}
	if len(p.errs) > 0 {
		return p.errs[0]
	}
	return nil
}
