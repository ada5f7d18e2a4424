package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ownLabel marks the records of Helm releases that this plugin made, so that
// it never overwrites the values of somebody else's.
const ownLabel = "kubectl-triton"

// historyLimit is how many revisions of a release are kept, as helm's own default.
const historyLimit = 10

// Release is what Helm knows of one release.
type Release struct {
	Name         string    `json:"name"`
	Namespace    string    `json:"namespace"`
	Chart        string    `json:"chart"`
	ChartVersion string    `json:"chartVersion"`
	AppVersion   string    `json:"appVersion,omitempty"`
	Status       string    `json:"status"`
	Revision     int       `json:"revision"`
	Updated      time.Time `json:"updated"`
	Description  string    `json:"description,omitempty"`
	// Own says that this plugin made it.
	Own bool `json:"own"`

	record *release.Release
}

// Pending says that an operation on the release has begun and not ended: it is
// going on, or its process was killed.
func (r *Release) Pending() bool {
	return r.record.Info.Status.IsPending() || r.record.Info.Status == release.StatusUninstalling
}

// Deployed says that the last operation ended well.
func (r *Release) Deployed() bool { return r.record.Info.Status == release.StatusDeployed }

// Values are the values that the release was given, without the chart's defaults.
func (r *Release) Values() Values { return Merge(Values(r.record.Config)) }

// PendingError is a release on which an operation was begun and not ended.
type PendingError struct{ Release *Release }

func (e *PendingError) Error() string {
	r := e.Release
	return fmt.Sprintf("the Helm release %s in namespace %s is %s since %s: an operation on it is going on, or was killed; see 'helm -n %s history %s', and if nobody works on it take it over with --recover",
		r.Name, r.Namespace, r.Status, r.Updated.Format(time.RFC3339), r.Namespace, r.Name)
}

// Releases are the Helm releases of one namespace.
type Releases struct {
	client    *Client
	namespace string
	config    *action.Configuration
}

// records opens Helm's records in a namespace.
func (c *Client) records(namespace string) *Releases {
	records, carrier := c.helm(namespace)
	return &Releases{client: c, namespace: namespace, config: &action.Configuration{
		RESTClientGetter: c.getter(namespace),
		KubeClient:       carrier,
		Releases:         storage.Init(records),
		Log:              quiet,
		HookOutputFunc:   func(_, _, _ string) io.Writer { return io.Discard },
	}}
}

// Get returns the newest revision of a release; nil when there is none.
func (r *Releases) Get(ctx context.Context, name string) (*Release, error) {
	record, err := within(ctx, func() (*release.Release, error) { return r.config.Releases.Last(name) })
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("could not read the Helm release %s in namespace %s: %w", name, r.namespace, err)
	}
	return newRelease(record), nil
}

func newRelease(record *release.Release) *Release {
	if record.Info == nil {
		record.Info = &release.Info{Status: release.StatusUnknown} // Helm reads it unasked
	}
	r := &Release{
		Name: record.Name, Namespace: record.Namespace, Revision: record.Version,
		Own:    record.Labels[ownLabel] != "",
		record: record,
	}
	if record.Chart != nil && record.Chart.Metadata != nil {
		r.Chart, r.ChartVersion, r.AppVersion = record.Chart.Metadata.Name, record.Chart.Metadata.Version, record.Chart.Metadata.AppVersion
	}
	r.Status, r.Updated, r.Description = record.Info.Status.String(), record.Info.LastDeployed.Time, record.Info.Description
	return r
}

// recover ends, on paper, an operation whose process is gone: the next upgrade
// then starts from what is in the cluster.
func (r *Releases) recover(rel *Release) error {
	if !rel.Pending() {
		return nil
	}
	was := rel.Status
	rel.record.Info.Status = release.StatusFailed
	rel.record.Info.Description = "was " + was + " when its process ended"
	if err := r.config.Releases.Update(rel.record); err != nil {
		return fmt.Errorf("could not take over the Helm release %s, which is %s, in namespace %s: %w", rel.Name, was, r.namespace, err)
	}
	rel.Status = release.StatusFailed.String()
	return nil
}

// Apply carries a plan out. Helm's own waiting isn't used: it doesn't know
// what Prometheus's operator makes. An operation that the API server's absence
// cut short is begun again from what it left.
func (r *Releases) Apply(ctx context.Context, p *ReleasePlan) (*Release, error) {
	if p.Verb == Unchanged {
		return p.Release, nil
	}
	var made *Release
	first := true
	err := persist(ctx, func(ctx context.Context) (err error) {
		if !first {
			if p.Release, err = r.Get(ctx, p.Name); err != nil {
				return err
			}
			p.Recover = true
		}
		first = false
		made, err = r.apply(ctx, p)
		return err
	})
	if err == nil {
		return made, nil
	}
	var pending *PendingError
	if errors.As(err, &pending) {
		return nil, err
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, fmt.Errorf("the Helm release %s in namespace %s could not be made: %w", p.Name, r.namespace, err)
}

func (r *Releases) apply(ctx context.Context, p *ReleasePlan) (*Release, error) {
	if p.Release != nil && p.Release.Pending() {
		if !p.Recover {
			return nil, &PendingError{p.Release}
		}
		if err := r.recover(p.Release); err != nil {
			return nil, err
		}
	}
	record, err := r.run(ctx, p)
	if err != nil {
		return nil, err
	}
	return newRelease(record), nil
}

func (r *Releases) run(ctx context.Context, p *ReleasePlan) (*release.Release, error) {
	chart, err := p.Package.helmChart()
	if err != nil {
		return nil, err
	}
	labels := map[string]string{ownLabel: "observe"}
	// What the API server refuses, it refuses at the write too; a schema of all
	// CRDs fetched for each object is most of an installation's time.
	if p.Release == nil {
		seeded, err := r.seed(ctx, p)
		if err != nil {
			return nil, err
		}
		install := action.NewInstall(r.config)
		install.ReleaseName, install.Namespace, install.Labels = p.Name, r.namespace, labels
		install.SkipCRDs, install.DisableOpenAPIValidation = true, true
		install.Timeout = hookTimeout
		record, err := install.RunWithContext(ctx, chart, p.Values)
		if err != nil {
			r.unseed(ctx, p.Name, seeded)
		}
		return record, err
	}
	upgrade := action.NewUpgrade(r.config)
	upgrade.Namespace, upgrade.Labels = r.namespace, labels
	upgrade.ResetValues, upgrade.MaxHistory = true, historyLimit
	upgrade.SkipCRDs, upgrade.DisableOpenAPIValidation = true, true
	upgrade.Timeout = hookTimeout
	return upgrade.RunWithContext(ctx, p.Name, chart, p.Values)
}

// seed creates the Secret of Grafana's login ahead of the release that it
// belongs to. The chart draws a new password wherever it needs one and finds
// none in the cluster: without this the checksum of the Secret would be another
// one's, and the next upgrade would restart Grafana for nothing.
func (r *Releases) seed(ctx context.Context, p *ReleasePlan) (made []Ref, err error) {
	for _, o := range p.labelled {
		login, _, _ := unstructured.NestedMap(o.Object, "data")
		if o.GetKind() != "Secret" || login["admin-password"] == nil {
			continue
		}
		resource, err := r.client.resource(RefOf(o))
		if err != nil {
			return nil, err
		}
		switch _, err := resource.Create(ctx, o, metav1.CreateOptions{FieldManager: fieldManager}); {
		case err == nil:
			made = append(made, RefOf(o))
		case !apierrors.IsAlreadyExists(err):
			return nil, fmt.Errorf("could not create the %s: %w", RefOf(o), err)
		}
	}
	return made, nil
}

// unseed takes back what seed made for an installation that ended before Helm
// had a record of it: no removal would ever find it.
func (r *Releases) unseed(ctx context.Context, name string, made []Ref) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if there, err := r.Get(ctx, name); err != nil || there != nil {
		return
	}
	for _, ref := range made {
		_ = r.client.remove(ctx, ref) // the installation's own error says more
	}
}

// hookTimeout bounds a chart's hooks.
const hookTimeout = 5 * time.Minute

// Uninstall removes a release and everything in its manifest, but for what
// the chart says to keep.
func (r *Releases) Uninstall(ctx context.Context, rel *Release) error {
	_, err := within(ctx, func() (*release.UninstallReleaseResponse, error) {
		uninstall := action.NewUninstall(r.config)
		uninstall.Timeout = hookTimeout
		return uninstall.Run(rel.Name)
	})
	if err != nil {
		return fmt.Errorf("the Helm release %s in namespace %s could not be removed: %w; try again, or look at it with 'helm -n %s status %s'", rel.Name, r.namespace, err, r.namespace, rel.Name)
	}
	return nil
}
