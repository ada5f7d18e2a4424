package grafana

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// hit is one result of a search.
type hit struct {
	ID          int64    `json:"id"`
	OrgID       int64    `json:"orgId"`
	UID         string   `json:"uid"`
	Title       string   `json:"title"`
	URI         string   `json:"uri"`
	URL         string   `json:"url"`
	Slug        string   `json:"slug"`
	Type        string   `json:"type"`
	Tags        []string `json:"tags"`
	IsStarred   bool     `json:"isStarred"`
	FolderID    int64    `json:"folderId,omitempty"`
	FolderUID   string   `json:"folderUid,omitempty"`
	FolderTitle string   `json:"folderTitle,omitempty"`
	FolderURL   string   `json:"folderUrl,omitempty"`
	SortMeta    int64    `json:"sortMeta"`
	IsDeleted   bool     `json:"isDeleted"`
}

const (
	typeDashboard = "dash-db"
	typeFolder    = "dash-folder"

	searchLimit    = 1000
	maxSearchLimit = 5000
)

func (s *Server) search(w http.ResponseWriter, r *http.Request, _ identity) {
	q := r.URL.Query()
	limit := number(q, "limit")
	if limit > maxSearchLimit {
		failure(http.StatusUnprocessableEntity, "Limit is above maximum allowed (5000), use page parameter to access hits beyond limit").write(w)
		return
	}
	if limit <= 0 {
		limit = searchLimit
	}
	hits := []hit{}
	s.store.view(func(st *state) {
		for _, f := range st.Folders {
			hits = append(hits, hit{ID: f.ID, OrgID: 1, UID: f.UID, Title: f.Title, URI: "db/" + slug(f.Title), URL: f.url(), Type: typeFolder, Tags: []string{}})
		}
		for _, d := range st.Dashboards {
			h := hit{ID: d.ID, OrgID: 1, UID: d.UID, Title: d.Title, URI: "db/" + slug(d.Title), URL: d.url(), Type: typeDashboard, Tags: d.Tags}
			if f := st.folder(d.FolderUID); f != nil {
				h.FolderID, h.FolderUID, h.FolderTitle, h.FolderURL = f.ID, f.UID, f.Title, f.url()
			}
			hits = append(hits, h)
		}
	})
	hits = slices.DeleteFunc(hits, func(h hit) bool { return !h.matches(q) })
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(-cmp.Compare(a.Type, b.Type), cmp.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title)), cmp.Compare(a.ID, b.ID))
	})
	skip := min((max(number(q, "page"), 1)-1)*limit, int64(len(hits)))
	hits = hits[skip:]
	respond(w, http.StatusOK, hits[:min(limit, int64(len(hits)))])
}

func (h hit) matches(q url.Values) bool {
	if !strings.Contains(strings.ToLower(h.Title), strings.ToLower(q.Get("query"))) {
		return false
	}
	if t := q.Get("type"); t != "" && t != h.Type {
		return false
	}
	for _, tag := range q["tag"] {
		if !slices.Contains(h.Tags, tag) {
			return false
		}
	}
	if uids := q["dashboardUIDs"]; len(uids) > 0 && !slices.Contains(uids, h.UID) {
		return false
	}
	if folders := q["folderUIDs"]; len(folders) > 0 && !slices.Contains(folders, cmp.Or(h.FolderUID, "general")) {
		return false
	}
	if starred := q.Get("starred"); starred == "true" && !h.IsStarred {
		return false
	}
	return true
}
