package grafana

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSaveDashboard(t *testing.T) {
	var bodies []string
	c := connect(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		bodies = append(bodies, r.Method+" "+r.URL.Path+" "+string(body))
		switch {
		case strings.Contains(string(body), `"taken"`) && !strings.Contains(string(body), `"overwrite":true`):
			w.WriteHeader(http.StatusPreconditionFailed)
			fmt.Fprint(w, `{"status":"version-mismatch","message":"The dashboard has been changed by someone else"}`)
		case strings.Contains(string(body), `"odd"`):
			fmt.Fprint(w, `{}`)
		default:
			fmt.Fprint(w, `{"uid":"u","url":"/d/u/t","version":3,"status":"success"}`)
		}
	})), Auth{Token: secretToken})
	saved, err := c.SaveDashboard(t.Context(), json.RawMessage(`{"uid":"u","title":"T"}`), "folder", true, "why")
	if err != nil || saved != (SavedDashboard{UID: "u", URL: "/d/u/t", Version: 3}) {
		t.Errorf("%+v, %v", saved, err)
	}
	if want := `POST /api/dashboards/db {"dashboard":{"uid":"u","title":"T"},"folderUid":"folder","overwrite":true,"message":"why"}`; bodies[0] != want {
		t.Errorf("sent %s, want %s", bodies[0], want)
	}
	var status *StatusError
	if _, err := c.SaveDashboard(t.Context(), json.RawMessage(`{"uid":"taken"}`), "", false, ""); !errors.As(err, &status) || status.Status != http.StatusPreconditionFailed {
		t.Errorf("one that is there: %v", err)
	}
	if _, err := c.SaveDashboard(t.Context(), json.RawMessage(`{"uid":"odd"}`), "", false, ""); err == nil {
		t.Error("an answer without a uid: no error")
	}
}

func TestFolders(t *testing.T) {
	var asked []string
	c := connect(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		if r.Method == http.MethodPost {
			fmt.Fprint(w, `{"uid":"new","title":"New"}`)
			return
		}
		page := []Folder{{UID: "last", Title: "Last"}}
		if r.URL.Query().Get("page") == "1" {
			page = slices.Repeat([]Folder{{UID: "f", Title: "F"}}, maxFolders)
		}
		if err := json.NewEncoder(w).Encode(page); err != nil {
			t.Error(err)
		}
	})), Auth{Token: secretToken})
	all, err := c.Folders(t.Context())
	if err != nil || len(all) != maxFolders+1 || all[maxFolders].UID != "last" {
		t.Errorf("%d folders, %v", len(all), err)
	}
	made, err := c.CreateFolder(t.Context(), "New")
	if err != nil || made.UID != "new" {
		t.Errorf("%+v, %v", made, err)
	}
	if want := []string{"GET /api/folders?limit=1000&page=1", "GET /api/folders?limit=1000&page=2", "POST /api/folders"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
}

// TestLoginPageIsNoSuccess: what a proxy answers in Grafana's place says nothing
// about what Grafana did, also where no answer is needed.
func TestLoginPageIsNoSuccess(t *testing.T) {
	c := connect(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>Please log in</html>")
	})), Auth{Token: secretToken})
	for name, err := range map[string]error{
		"end":    c.EndRegion(t.Context(), 7, time.UnixMilli(1_700_000_000_123), "done"),
		"delete": c.DeleteAnnotation(t.Context(), 7),
	} {
		var status *StatusError
		if !errors.As(err, &status) || !strings.Contains(err.Error(), "not JSON") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestSearchDashboardsPages: Grafana gives 1000 hits unless asked for more.
func TestSearchDashboardsPages(t *testing.T) {
	const there = 1203
	c := connect(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, limit := 1, 1000
		for name, to := range map[string]*int{"page": &page, "limit": &limit} {
			if text := r.URL.Query().Get(name); text != "" {
				if _, err := fmt.Sscan(text, to); err != nil {
					t.Error(err)
				}
			}
		}
		hits := []DashboardHit{}
		for i := (page - 1) * limit; i < min(page*limit, there); i++ {
			hits = append(hits, DashboardHit{UID: fmt.Sprint(i)})
		}
		if err := json.NewEncoder(w).Encode(hits); err != nil {
			t.Error(err)
		}
	})), Auth{Token: secretToken})
	hits, err := c.SearchDashboards(t.Context(), "")
	if err != nil || len(hits) != there || hits[there-1].UID != fmt.Sprint(there-1) {
		t.Errorf("%d of %d dashboards, %v", len(hits), there, err)
	}
}
