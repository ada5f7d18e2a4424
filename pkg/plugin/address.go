package plugin

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
)

// address is a server's, as --url gives it.
type address struct {
	url      string // scheme and host, as written
	host     string // with the port, if one was written: what the server is called
	hostname string // without a port
	dial     string // HOST:PORT
	grpc     bool
	secure   bool
}

// parseAddress reads http://HOST[:PORT], https://…, grpc://HOST:PORT or grpcs://….
func parseAddress(text string) (*address, error) {
	if strings.Contains(text, "@") {
		return nil, errors.New("holds a login, which this command doesn't send; leave what is before the @ out")
	}
	const forms = "it must be http://HOST:PORT, https://HOST:PORT, grpc://HOST:PORT or grpcs://HOST:PORT"
	u, err := url.Parse(text)
	if err != nil || u.Host == "" && !strings.Contains(text, "://") {
		return nil, fmt.Errorf("is %q; %s", text, forms)
	}
	a := &address{url: u.Scheme + "://" + u.Host, host: u.Host, hostname: u.Hostname()}
	port := u.Port()
	switch u.Scheme {
	case "http", "https":
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
	case "grpc", "grpcs":
		a.grpc = true
	default:
		return nil, fmt.Errorf("is %q; %s", text, forms)
	}
	a.secure = strings.HasSuffix(u.Scheme, "s")
	switch {
	case a.hostname == "":
		return nil, fmt.Errorf("is %q and names no host; %s", text, forms)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("is %q; only scheme, host and port can be given, Triton's paths begin at /v2", text)
	case port == "":
		return nil, fmt.Errorf("is %q and names no port; Triton's gRPC port is usually 8001", text)
	}
	a.dial = net.JoinHostPort(a.hostname, port)
	return a, nil
}

// serverFlags are kubectl's flags of a TLS connection. A test by --url talks to
// no API server: they are about the server at that address then.
func serverFlags() []string {
	return []string{"insecure-skip-tls-verify", "certificate-authority", "tls-server-name", "client-certificate", "client-key"}
}

// serverTLS is kubectl's TLS configuration for the server named hostname.
func serverTLS(flags *genericclioptions.ConfigFlags, hostname string) (*tls.Config, error) {
	config := &rest.Config{Host: "https://" + hostname, TLSClientConfig: rest.TLSClientConfig{
		Insecure: *flags.Insecure, ServerName: *flags.TLSServerName,
		CAFile: *flags.CAFile, CertFile: *flags.CertFile, KeyFile: *flags.KeyFile,
	}}
	t, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, usageErrorf("the TLS flags can't be used: %w", err)
	}
	if t == nil {
		t = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if t.ServerName == "" {
		t.ServerName = hostname
	}
	return t, nil
}

// completeURL reads --url and refuses what would mean nothing beside it.
func (o *BenchOptions) completeURL(cmd *cobra.Command) error {
	if o.URL == "" {
		if o.MetricsURL != "" {
			return usageErrorf("--metrics-url belongs to --url; the metrics of pods are found by themselves")
		}
		return nil
	}
	var err error
	if o.address, err = parseAddress(o.URL); err != nil {
		return usageErrorf("--url %w", err)
	}
	if err := refuseBesideURL(cmd.Flags(), o.address); err != nil {
		return err
	}
	if o.MetricsURL != "" {
		if u, err := url.Parse(o.MetricsURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			return usageErrorf("--metrics-url must be an address such as http://HOST:8002/metrics, without a login")
		}
	}
	protocol := "http"
	if o.address.grpc {
		protocol = "grpc"
	}
	switch {
	case o.protocolChosen && o.Protocol != protocol:
		return usageErrorf("--protocol %s does not fit --url %s; Triton's HTTP is http://HOST:8000 and its gRPC grpc://HOST:8001", o.Protocol, o.URL)
	case o.Streaming && protocol == "http":
		return usageErrorf("--streaming is a gRPC stream; give the address of the gRPC port, as --url grpc://HOST:8001")
	}
	o.Protocol, o.protocolChosen = protocol, true
	return nil
}

func refuseBesideURL(flags *pflag.FlagSet, at *address) (err error) {
	kubectl := pflag.NewFlagSet("", pflag.ContinueOnError)
	genericclioptions.NewConfigFlags(false).AddFlags(kubectl)
	flags.Visit(func(f *pflag.Flag) {
		switch {
		case err != nil:
		case slices.Contains([]string{"service", "port", "transport", "stack-namespace"}, f.Name):
			err = usageErrorf("--%s belongs to a Triton in a cluster, and --url leads past it; leave one of them out", f.Name)
		case slices.Contains(serverFlags(), f.Name):
			if !at.secure {
				err = usageErrorf("--%s means nothing for %s, which is not encrypted; use https:// or grpcs://", f.Name, at.url)
			}
		case kubectl.Lookup(f.Name) != nil:
			err = usageErrorf("--%s is about the API server, which is not asked with --url; leave one of them out", f.Name)
		}
	})
	return err
}

// grpcFlag is how a user chooses gRPC.
func (o *BenchOptions) grpcFlag() string {
	if o.URL != "" {
		return "the address of the gRPC port, as --url grpc://HOST:8001,"
	}
	return "--protocol grpc"
}
