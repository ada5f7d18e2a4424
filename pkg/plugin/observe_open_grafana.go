package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
)

// projectDashboards are the project's own, in the order in which one is chosen.
func projectDashboards() []string {
	return []string{"loadtest-annotated", "triton-latency", "gpu-dashboard"}
}

// grafanaLogin is where the admin login is kept, and the login itself.
type grafanaLogin struct {
	secret *corev1.Secret
	auth   grafana.Auth
	err    error // why there is none
}

func readLogin(ctx context.Context, c *cluster, t *openTarget) grafanaLogin {
	secret, err := c.grafanaSecret(ctx, stackService{namespace: t.namespace, name: t.name})
	if err != nil {
		return grafanaLogin{err: err}
	}
	auth, err := adminAuth(secret)
	return grafanaLogin{secret: secret, auth: auth, err: err}
}

// grafanaPage is the address to open: of the dashboard that was asked for, else
// of the first of the project's that Grafana has, else of its start page. A
// remark says what could not be found out.
func (o *ObserveOpenOptions) grafanaPage(ctx context.Context, f *openForward, login grafanaLogin) (page, remark string, err error) {
	client, err := grafana.New("http://grafana", transport(f.endpoint.DialContext), login.auth)
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, grafanaTimeout)
	defer cancel()
	uids := projectDashboards()
	if o.Dashboard != "" {
		uids = []string{o.Dashboard}
	}
	for _, uid := range uids {
		_, err := client.DashboardByUID(ctx, uid)
		var status *grafana.StatusError
		switch {
		case err == nil:
			return o.timeRange.dashboardURL(f.url(), uid), "", nil
		case errors.As(err, &status) && status.Status == http.StatusNotFound:
			continue
		case o.Dashboard != "":
			return o.timeRange.dashboardURL(f.url(), uid), fmt.Sprintf("whether Grafana has the dashboard %s is unknown: %v", uid, err), nil
		default:
			return f.url() + "/", fmt.Sprintf("which dashboards Grafana has is unknown: %v", err), nil
		}
	}
	if o.Dashboard != "" {
		return "", "", o.unknownDashboard(ctx, client)
	}
	return f.url() + "/", fmt.Sprintf("Grafana has none of the dashboards %s; this is its start page", strings.Join(uids, ", ")), nil
}

func (o *ObserveOpenOptions) unknownDashboard(ctx context.Context, client *grafana.Client) error {
	what := fmt.Sprintf("Grafana has no dashboard with the uid %s", o.Dashboard)
	hits, err := client.SearchDashboards(ctx, "")
	if err != nil || len(hits) == 0 {
		return fmt.Errorf("%s, nor any other that this login sees", what)
	}
	const most = 20
	var list []string
	for i, h := range hits {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(hits)-most))
			break
		}
		list = append(list, fmt.Sprintf("%s (%s)", h.UID, h.Title))
	}
	return fmt.Errorf("%s; it has: %s", what, strings.Join(list, ", "))
}

// printLogin says where the login is and, only when asked, what it is.
func (o *ObserveOpenOptions) printLogin(login grafanaLogin, say *openEvents) {
	if login.err != nil {
		say.fact("login", "%v", login.err)
		return
	}
	s := login.secret
	say.fact("login", "Secret %s/%s, keys %s and %s", s.Namespace, s.Name, adminUserKey, adminPasswordKey)
	if o.ShowPassword {
		fmt.Fprintf(o.Out, "user     %s\npassword %s\n", login.auth.User, login.auth.Password)
		return
	}
	say.fact("", "printed by --show-password, or by")
	say.command(o.kubectl(`-n %s get secret %s -o go-template='{{index .data "%s" | base64decode}}'`, s.Namespace, s.Name, adminPasswordKey))
}
