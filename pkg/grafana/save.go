package grafana

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Folder is a folder of dashboards. The root, which Grafana calls General or
// Dashboards, is none: its uid is empty.
type Folder struct {
	UID   string `json:"uid"`
	Title string `json:"title"`
}

// maxFolders is the largest page that Grafana gives.
const maxFolders = 1000

// Folders lists the folders at the top level.
func (c *Client) Folders(ctx context.Context) ([]Folder, error) {
	var all []Folder
	for page := 1; ; page++ {
		var some []Folder
		query := map[string][]string{"limit": {strconv.Itoa(maxFolders)}, "page": {strconv.Itoa(page)}}
		if err := c.call(ctx, "list folders in Grafana", http.MethodGet, "/api/folders", query, nil, &some); err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < maxFolders {
			return all, nil
		}
	}
}

// CreateFolder makes a folder at the top level.
func (c *Client) CreateFolder(ctx context.Context, title string) (Folder, error) {
	var made Folder
	err := c.call(ctx, fmt.Sprintf("create the folder %q in Grafana", title), http.MethodPost, "/api/folders", nil, map[string]string{"title": title}, &made)
	if err == nil && made.UID == "" {
		err = &StatusError{doing: "create a folder in Grafana", Address: c.base.String(), Status: http.StatusOK, Message: "its answer holds no uid"}
	}
	return made, err
}

// SavedDashboard is what Grafana says of a dashboard that it took.
type SavedDashboard struct {
	UID     string `json:"uid"`
	URL     string `json:"url"` // path on this Grafana
	Version int    `json:"version"`
}

// SaveDashboard stores a dashboard, in the root folder if folderUID is empty.
// One that is there under the same uid is replaced if overwrite is set, else
// the error is a *StatusError with status 412. A provisioned one is refused
// either way, with status 400.
func (c *Client) SaveDashboard(ctx context.Context, model json.RawMessage, folderUID string, overwrite bool, message string) (SavedDashboard, error) {
	body := struct {
		Dashboard json.RawMessage `json:"dashboard"`
		FolderUID string          `json:"folderUid,omitempty"`
		Overwrite bool            `json:"overwrite"`
		Message   string          `json:"message,omitempty"`
	}{model, folderUID, overwrite, message}
	const doing = "save the dashboard in Grafana"
	var saved SavedDashboard
	if err := c.call(ctx, doing, http.MethodPost, "/api/dashboards/db", nil, body, &saved); err != nil {
		return SavedDashboard{}, err
	}
	if saved.UID == "" {
		return SavedDashboard{}, &StatusError{doing: doing, Address: c.base.String(), Status: http.StatusOK, Message: "its answer holds no uid"}
	}
	return saved, nil
}
