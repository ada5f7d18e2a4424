package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"helm.sh/helm/v3/pkg/registry"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// registryOrigin is a repository of an OCI registry that holds one chart, with
// its versions as tags: oci://host/path/chart. The login is that of "helm
// registry login" or "docker login", if there is one.
type registryOrigin struct {
	reference string
}

func (r registryOrigin) address() string { return r.reference }

func (r registryOrigin) fetch(_ context.Context, d *downloader, c Chart) ([]byte, error) {
	options := []registry.ClientOption{registry.ClientOptHTTPClient(d.client), registry.ClientOptWriter(io.Discard)}
	if r.local() {
		options = append(options, registry.ClientOptPlainHTTP())
	}
	client, err := registry.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("could not use the registry at %s: the stored registry logins can't be read: %w", r.reference, err)
	}
	name := strings.TrimPrefix(r.reference, "oci://")
	result, err := client.Pull(name + ":" + c.Version)
	switch {
	case err == nil:
		return result.Chart.Data, nil
	case errors.Is(err, errdef.ErrNotFound):
		tags, err := client.Tags(name)
		if err != nil {
			tags = nil
		}
		return nil, &VersionError{Chart: c, Address: r.reference, Available: nearestVersions(tags, c.Version)}
	case errors.Is(err, errdef.ErrInvalidReference):
		return nil, fmt.Errorf("%s is not the address of a chart in a registry; it must be oci://host/path", r.reference)
	case errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData), errors.Is(err, content.ErrInvalidDescriptorSize):
		return nil, &CorruptPackageError{Chart: c, Origin: r.reference, Err: fmt.Errorf("it is not what the registry's manifest names: %w", err)}
	default:
		return nil, &unreachable{r.reference, withoutURL(err)}
	}
}

// local says whether the registry is on this machine, where it is spoken to
// without TLS, as container runtimes do.
func (r registryOrigin) local() bool {
	host, _, _ := strings.Cut(strings.TrimPrefix(r.reference, "oci://"), "/")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
