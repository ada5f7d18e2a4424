package grafana

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// DashboardHit is one dashboard that a search found.
type DashboardHit struct {
	UID    string   `json:"uid"`
	Title  string   `json:"title"`
	Folder string   `json:"folderTitle"`
	Tags   []string `json:"tags"`
}

// SearchDashboards lists the dashboards whose title matches query and that
// have all the tags; both may be empty.
func (c *Client) SearchDashboards(ctx context.Context, query string, tags ...string) ([]DashboardHit, error) {
	values := url.Values{"type": {"dash-db"}, "tag": tags, "limit": {strconv.Itoa(maxHits)}}
	if query != "" {
		values.Set("query", query)
	}
	var all []DashboardHit
	for page := 1; ; page++ {
		values.Set("page", strconv.Itoa(page))
		var some []DashboardHit
		if err := c.call(ctx, "search dashboards in Grafana", http.MethodGet, "/api/search", values, nil, &some); err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < maxHits {
			return all, nil
		}
	}
}

// maxHits is the page that Grafana gives by itself.
const maxHits = 1000

// Dashboard is a dashboard's model and what Grafana knows about it.
type Dashboard struct {
	UID         string
	Title       string
	Version     int
	Folder      string
	FolderUID   string // empty for the root
	Provisioned bool
	Model       json.RawMessage
}

// DashboardByUID reads one dashboard. One that doesn't exist is a *StatusError
// with status 404.
func (c *Client) DashboardByUID(ctx context.Context, uid string) (Dashboard, error) {
	if uid == "" {
		return Dashboard{}, fmt.Errorf("a dashboard's uid must not be empty")
	}
	doing := fmt.Sprintf("read the dashboard %q in Grafana", uid)
	var answer struct {
		Dashboard json.RawMessage `json:"dashboard"`
		Meta      struct {
			FolderTitle string `json:"folderTitle"`
			FolderUID   string `json:"folderUid"`
			Provisioned bool   `json:"provisioned"`
		} `json:"meta"`
	}
	if err := c.call(ctx, doing, http.MethodGet, "/api/dashboards/uid/"+url.PathEscape(uid), nil, nil, &answer); err != nil {
		return Dashboard{}, err
	}
	var head struct {
		UID     string `json:"uid"`
		Title   string `json:"title"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(answer.Dashboard, &head); err != nil || head.UID == "" {
		return Dashboard{}, &StatusError{doing: doing, Address: c.base.String(), Status: http.StatusOK, Message: "its answer holds no dashboard"}
	}
	return Dashboard{UID: head.UID, Title: head.Title, Version: head.Version, Folder: answer.Meta.FolderTitle, FolderUID: answer.Meta.FolderUID,
		Provisioned: answer.Meta.Provisioned, Model: answer.Dashboard}, nil
}

// DashboardURL is where a person sees the dashboard from from to to, with its
// template variables set to vars. base is the address that the person's
// browser reaches Grafana at; credentials in it are dropped.
func DashboardURL(base, uid string, from, to time.Time, vars map[string][]string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("the address of Grafana is not a URL: give one such as http://127.0.0.1:3000")
	}
	query := url.Values{"from": {strconv.FormatInt(from.UnixMilli(), 10)}, "to": {strconv.FormatInt(to.UnixMilli(), 10)}}
	for name, values := range vars {
		query["var-"+name] = values
	}
	u = u.JoinPath("d", url.PathEscape(uid))
	u.User, u.Fragment, u.RawQuery = nil, "", query.Encode()
	return u.String(), nil
}
