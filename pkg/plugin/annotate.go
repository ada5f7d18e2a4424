package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

const (
	grafanaTimeout = 5 * time.Second
	// grafanaLocalURL is where Grafana is after the usual port-forward.
	grafanaLocalURL = "http://localhost:3000"

	startText = "Load Test Start"
	stopText  = "Load Test Stop"
)

// marker marks the test in Grafana, beside the path of the load: nothing it
// does delays or fails the test.
type marker struct {
	client  *grafana.Client
	baseURL string
	open    string // the command that opens it; empty outside the cluster
	tags    []string
	text    string

	posted chan struct{}
	id     int64
	err    error
	lost   bool // Grafana forgot the start, and has the region all the same
}

// newMarker finds Grafana and a login for it.
func newMarker(ctx context.Context, c *cluster, dialer *portforward.Dialer, o *BenchOptions) (*marker, error) {
	if o.GrafanaURL != "" {
		if o.GrafanaTokenFile == "" {
			return nil, errors.New("--grafana-url needs a login: give a service account token by --grafana-token-file")
		}
		auth, err := tokenAuth(o.GrafanaTokenFile)
		if err != nil {
			return nil, err
		}
		client, err := grafana.New(o.GrafanaURL, http.DefaultTransport, auth)
		if err != nil {
			return nil, err
		}
		return &marker{client: client, baseURL: o.GrafanaURL}, nil
	}
	svc, err := c.findStackService(ctx, o.StackNamespace, grafanaService())
	if err != nil {
		return nil, err
	}
	auth, err := c.grafanaAuth(ctx, svc, o.GrafanaTokenFile)
	if err != nil {
		return nil, err
	}
	endpoint := svc.endpoint(dialer)
	client, err := grafana.New("http://grafana", transport(endpoint.DialContext), auth)
	if err != nil {
		return nil, err
	}
	return &marker{
		client:  client,
		baseURL: grafanaLocalURL,
		open:    openGrafanaCommand(o.StackNamespace, svc.name),
	}, nil
}

// start posts the begin of the region without waiting for the answer.
func (m *marker) start(ctx context.Context, at time.Time, text string, tags []string) {
	m.posted, m.text, m.tags = make(chan struct{}), text, tags
	go func() {
		defer close(m.posted)
		ctx, cancel := context.WithTimeout(ctx, grafanaTimeout)
		defer cancel()
		m.id, m.err = m.client.StartRegion(ctx, grafana.Annotation{Time: at, Tags: tags, Text: startText + ": " + text})
	}()
}

// stop ends the region, or posts it whole when its begin did not arrive.
func (m *marker) stop(ctx context.Context, begin, end time.Time, summary string) error {
	ctx, cancel := context.WithTimeout(ctx, grafanaTimeout)
	defer cancel()
	select {
	case <-m.posted:
	case <-ctx.Done():
		return errors.New("Grafana did not answer the annotation of the start in time") //nolint:staticcheck // a product's name
	}
	text := startText + ": " + m.text + "\n" + stopText + ": " + summary
	if m.err == nil && m.forgotten(ctx, begin, end) {
		m.lost, m.err = true, errors.New("Grafana has forgotten the annotation of the start") //nolint:staticcheck // a product's name
	}
	if m.err == nil {
		err := m.client.EndRegion(ctx, m.id, end, text)
		if err == nil {
			return nil
		}
		m.err = err
		return fmt.Errorf("the annotation %d was begun and could not be ended: %w", m.id, err)
	}
	id, err := m.client.PostRegion(ctx, grafana.Annotation{Time: begin, End: end, Tags: m.tags, Text: text})
	if err != nil {
		return err
	}
	m.id, m.err = id, nil
	return nil
}

// openGrafanaCommand names the Service only where "observe open" would have to
// ask which one is meant.
func openGrafanaCommand(namespace, service string) string {
	command := "kubectl triton observe open"
	if namespace != defaultStackNamespace {
		command += " --stack-namespace " + namespace
	}
	if service != "prom-operator-grafana" {
		command += " --service " + service
	}
	return command
}

// forgotten tells whether Grafana no longer has the annotation of the start: by
// default its database goes with its pod. A new database gives ids from 1 again,
// so the id alone could lead to somebody else's annotation. Without an answer
// the id is trusted.
func (m *marker) forgotten(ctx context.Context, begin, end time.Time) bool {
	found, err := m.client.FindAnnotations(ctx, m.tags, begin.Add(-time.Second), end)
	return err == nil && !slices.ContainsFunc(found, func(a grafana.Annotation) bool {
		return a.ID == m.id && a.Time.UnixMilli() == begin.UnixMilli()
	})
}

// link is the address of the first of the project's dashboards that Grafana
// has, else of its Explore view, over the time of the test.
func (m *marker) link(ctx context.Context, begin, end time.Time) *report.Grafana {
	from, to := begin.Add(-15*time.Second), end.Add(15*time.Second)
	g := &report.Grafana{AnnotationID: m.id, Tags: m.tags}
	if m.open != "" {
		g.Reach = fmt.Sprintf("%s --from %d --to %d", m.open, from.UnixMilli(), to.UnixMilli())
	}
	ctx, cancel := context.WithTimeout(ctx, grafanaTimeout)
	defer cancel()
	for _, uid := range projectDashboards() {
		if _, err := m.client.DashboardByUID(ctx, uid); err == nil {
			if g.URL, err = grafana.DashboardURL(m.baseURL, uid, from, to, nil); err == nil {
				return g
			}
		}
	}
	g.URL = exploreURL(m.baseURL, from, to)
	return g
}

// exploreURL opens Grafana's Explore view with the request rate of all models.
// The pane's layout is that of Grafana 10 and later (schemaVersion 1); the
// datasource UID is the one that kube-prometheus-stack provisions.
func exploreURL(base string, from, to time.Time) string {
	pane := fmt.Sprintf(`{"t":{"datasource":"prometheus","queries":[{"refId":"A","expr":"sum by (model) (rate(nv_inference_request_success[30s]))"}],"range":{"from":"%d","to":"%d"}}}`,
		from.UnixMilli(), to.UnixMilli())
	u, err := url.Parse(base)
	if err != nil {
		return "" // no client is made of such an address
	}
	u = u.JoinPath("explore")
	u.User, u.Fragment, u.RawQuery = nil, "", "schemaVersion=1&panes="+url.QueryEscape(pane)
	return u.String()
}
