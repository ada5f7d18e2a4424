package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
)

var errNoGrafana = errors.New("no Grafana was found")

const (
	noSidecar     = "no Grafana that loads dashboards was found"
	importByHand  = "; import them with 'kubectl triton dashboards import'"
	annotationTag = "kubectl-triton-check"
)

// grafanaAPI finds Grafana and its login.
func (m *monitoring) grafanaAPI(ctx context.Context) (*grafana.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.grafana != nil {
		return m.grafana, nil
	}
	svc, endpoint, err := m.reads.grafana(ctx)
	if err != nil {
		return nil, err
	}
	auth, err := m.cluster.grafanaAuth(ctx, svc, "")
	if err != nil {
		return nil, err
	}
	m.grafana, err = grafana.New("http://grafana", transport(endpoint.DialContext), auth)
	return m.grafana, err
}

func (m *monitoring) grafanaHealth(ctx context.Context) check.Outcome {
	if m.watched.dashboards == "" {
		return check.Skip(noSidecar)
	}
	show := fmt.Sprintf("kubectl -n %s get pods -l app.kubernetes.io/name=grafana", m.watched.dashboards)
	client, err := m.grafanaAPI(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", show)
	}
	health, err := client.Health(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", show)
	}
	return check.OK("version " + health.Version + " answers")
}

func (m *monitoring) dashboards(ctx context.Context) check.Outcome {
	if m.watched.dashboards == "" {
		return check.Skip(noSidecar + importByHand)
	}
	client, err := m.grafanaAPI(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	loaded := 0
	var problems []string
	for _, d := range assets.Dashboards() {
		_, err := client.DashboardByUID(ctx, d.UID)
		var status *grafana.StatusError
		var unreachable *grafana.UnreachableError
		switch {
		case err == nil:
			loaded++
		case errors.As(err, &status) && status.Status == http.StatusNotFound:
			problems = append(problems, d.UID+" is not loaded yet")
		case errors.As(err, &unreachable):
			return check.Pending("waits for Grafana", "", "")
		default:
			return check.Pending(err.Error(), "", m.mendLogin(err))
		}
	}
	detail := fmt.Sprintf("%d of %d loaded", loaded, loaded+len(problems))
	if len(problems) > 0 {
		mend := fmt.Sprintf("kubectl -n %s logs -l app.kubernetes.io/name=grafana -c grafana-sc-dashboard", m.watched.dashboards)
		if m.watched.imported {
			mend = "kubectl triton dashboards import"
		}
		return check.Pending(detail+"; "+strings.Join(problems, ", "), "", mend)
	}
	return check.OK(detail)
}

// mendLogin is the command after which Grafana takes the login in its Secret; ""
// when that is not what is wrong. A Grafana without a volume reads the Secret
// when it starts, one with a volume keeps the password in its database.
func (m *monitoring) mendLogin(err error) string {
	var refused *grafana.AuthError
	svc := m.watched.grafana
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized || svc.name == "" {
		return ""
	}
	if !m.watched.grafanaKeeps {
		return fmt.Sprintf("kubectl rollout restart deployment --namespace %s --selector app.kubernetes.io/name=grafana", svc.namespace)
	}
	return fmt.Sprintf("kubectl get secret --namespace %s %s -o jsonpath='{.data.%s}' | base64 -d | kubectl exec -i --namespace %s svc/%s -c grafana -- grafana cli admin reset-admin-password --password-from-stdin",
		svc.namespace, svc.name, adminPasswordKey, svc.namespace, svc.name)
}

// annotationsWritable writes one and removes it: whether credentials suffice,
// only Grafana knows. It lies in 1970, where no dashboard looks.
func (m *monitoring) annotationsWritable(ctx context.Context) check.Outcome {
	client, err := m.grafanaAPI(ctx)
	if err != nil {
		return check.Pending(err.Error(), "", "")
	}
	moment := time.Unix(1, 0)
	id, err := client.PostRegion(ctx, grafana.Annotation{
		Time: moment, End: moment.Add(time.Second), Tags: []string{annotationTag},
		Text: "Written by 'kubectl triton check' to see whether it may; removed at once.",
	})
	if err != nil {
		return check.Wrong(check.Finding{What: "no annotation could be written, so that load tests can't be marked: " + err.Error(), Command: m.mendLogin(err)})
	}
	// What was written has to go, also when the run is being ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), proofTimeout)
	defer cancel()
	if err := client.DeleteAnnotation(ctx, id); err != nil {
		return check.Wrong(check.Finding{
			What: fmt.Sprintf("annotation %d was written, but could not be removed: %v", id, err),
			Why:  "the login may write annotations and not delete them; the leftover is tagged " + annotationTag + " and lies in 1970",
		})
	}
	return check.OK("one was written and removed")
}
