package grafana

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
	"time"
)

type dashboard struct {
	ID          int64          `json:"id"`
	UID         string         `json:"uid"`
	Title       string         `json:"title"`
	Tags        []string       `json:"tags"`
	FolderUID   string         `json:"folder_uid"`
	Version     int            `json:"version"`
	Created     time.Time      `json:"created"`
	Updated     time.Time      `json:"updated"`
	UpdatedBy   string         `json:"updated_by"`
	Provisioned bool           `json:"provisioned"`
	Model       map[string]any `json:"model"`

	// Of a provisioned one.
	Provider     string `json:"provider,omitempty"`
	File         string `json:"file,omitempty"`
	SourceSHA256 string `json:"source_sha256,omitempty"`
}

func (d *dashboard) url() string { return "/d/" + d.UID + "/" + slug(d.Title) }

func (s *Server) dashboardRoutes(mux *http.ServeMux) {
	s.route(mux, "GET /api/dashboards/uid/{uid}", readDashboards, s.getDashboard)
	s.route(mux, "DELETE /api/dashboards/uid/{uid}", deleteDashboards, s.deleteDashboard)
	s.route(mux, "POST /api/dashboards/db", saveDashboards, s.postDashboard)
	s.route(mux, "GET /api/search", readDashboards, s.search)
}

func (s *Server) getDashboard(w http.ResponseWriter, r *http.Request, by identity) {
	var view map[string]any
	s.store.view(func(st *state) {
		if d := st.dashboard(r.PathValue("uid")); d != nil {
			view = map[string]any{"meta": dashboardMeta(st, d, by), "dashboard": d.Model}
		}
	})
	if view == nil {
		failure(http.StatusNotFound, "Dashboard not found").write(w)
		return
	}
	respond(w, http.StatusOK, view)
}

func dashboardMeta(st *state, d *dashboard, by identity) map[string]any {
	edits := by.role >= Editor
	meta := map[string]any{
		"type": "db", "canSave": edits, "canEdit": edits, "canAdmin": by.role >= Admin, "canStar": true, "canDelete": edits,
		"slug": slug(d.Title), "url": d.url(), "expires": time.Time{}, "created": d.Created, "updated": d.Updated,
		"updatedBy": d.UpdatedBy, "createdBy": d.UpdatedBy, "version": d.Version, "hasAcl": false, "isFolder": false,
		"folderId": 0, "folderUid": "", "folderTitle": "General", "folderUrl": "",
		"provisioned": d.Provisioned, "provisionedExternalId": d.File,
	}
	if f := st.folder(d.FolderUID); f != nil {
		meta["folderId"], meta["folderUid"], meta["folderTitle"], meta["folderUrl"] = f.ID, f.UID, f.Title, f.url()
	}
	return meta
}

func (s *Server) postDashboard(w http.ResponseWriter, r *http.Request, by identity) {
	var cmd struct {
		Dashboard map[string]any `json:"dashboard"`
		FolderUID string         `json:"folderUid"`
		Overwrite bool           `json:"overwrite"`
	}
	if fault := bind(w, r, &cmd); fault != nil {
		fault.write(w)
		return
	}
	var saved dashboard
	fault := s.store.change(func(st *state) *apiError {
		uid, title := text(cmd.Dashboard, "uid"), strings.TrimSpace(text(cmd.Dashboard, "title"))
		if title == "" {
			return withStatus(http.StatusBadRequest, "empty-name", "Dashboard title cannot be empty")
		}
		if fault := validUID(uid); fault != nil {
			return fault
		}
		if cmd.FolderUID != "" && st.folder(cmd.FolderUID) == nil {
			return failure(http.StatusBadRequest, "folder not found")
		}
		existing := st.dashboard(uid)
		if existing != nil {
			if existing.Provisioned {
				return failure(http.StatusBadRequest, "Cannot save provisioned dashboard")
			}
			if version, _ := cmd.Dashboard["version"].(float64); int(version) != existing.Version && !cmd.Overwrite {
				return withStatus(http.StatusPreconditionFailed, "version-mismatch", "The dashboard has been changed by someone else")
			}
		}
		saved = *st.saveDashboard(uid, title, cmd.FolderUID, cmd.Dashboard, by.login, s.now())
		return nil
	})
	if fault != nil {
		fault.write(w)
		return
	}
	respond(w, http.StatusOK, map[string]any{
		"id": saved.ID, "uid": saved.UID, "url": saved.url(), "slug": slug(saved.Title), "status": "success", "version": saved.Version, "folderUid": saved.FolderUID,
	})
}

// saveDashboard adds a dashboard or a new version of one. It keeps its own
// copy of the model, with the database's values in it.
func (st *state) saveDashboard(uid, title, folderUID string, model map[string]any, by string, now time.Time) *dashboard {
	now = now.UTC()
	d := st.dashboard(uid)
	if d == nil {
		id := st.nextID()
		if uid == "" {
			uid = generatedUID(title, id)
		}
		d = &dashboard{ID: id, UID: uid, Created: now}
		st.Dashboards = append(st.Dashboards, d)
	}
	d.Title, d.FolderUID, d.Updated, d.UpdatedBy = title, folderUID, now, by
	d.Version++
	d.Tags = texts(model["tags"])
	d.Model = make(map[string]any, len(model)+3)
	for k, v := range model {
		d.Model[k] = v
	}
	d.Model["id"], d.Model["uid"], d.Model["title"], d.Model["version"] = d.ID, d.UID, d.Title, d.Version
	return d
}

func (s *Server) deleteDashboard(w http.ResponseWriter, r *http.Request, _ identity) {
	uid := r.PathValue("uid")
	var removed dashboard
	fault := s.store.change(func(st *state) *apiError {
		d := st.dashboard(uid)
		if d == nil {
			return failure(http.StatusNotFound, "Dashboard not found")
		}
		if d.Provisioned {
			return failure(http.StatusBadRequest, "provisioned dashboard cannot be deleted")
		}
		removed = *d
		st.Dashboards = slices.DeleteFunc(st.Dashboards, func(d *dashboard) bool { return d.UID == uid })
		st.Annotations = slices.DeleteFunc(st.Annotations, func(a *annotation) bool { return a.DashboardID == removed.ID })
		return nil
	})
	if fault != nil {
		fault.write(w)
		return
	}
	respond(w, http.StatusOK, map[string]any{"title": removed.Title, "message": "Dashboard " + removed.Title + " deleted", "id": removed.ID, "uid": removed.UID})
}

func (st *state) dashboard(uid string) *dashboard {
	for _, d := range st.Dashboards {
		if d.UID == uid {
			return d
		}
	}
	return nil
}

func withStatus(code int, status, message string) *apiError {
	return &apiError{code, map[string]any{"message": message, "status": status}}
}

const maxUIDLength = 40

func validUID(uid string) *apiError {
	if len(uid) > maxUIDLength {
		return failure(http.StatusBadRequest, "uid too long, max 40 characters")
	}
	for _, r := range uid {
		if r != '-' && r != '_' && !isAlphanumeric(r) {
			return failure(http.StatusBadRequest, "uid contains illegal characters")
		}
	}
	return nil
}

func generatedUID(title string, id int64) string {
	hash := fnv.New64a()
	_, _ = fmt.Fprintf(hash, "%s/%d", title, id)
	return fmt.Sprintf("sb%012x", hash.Sum64()&0xffffffffffff)
}

// slug is a title as part of a URL.
func slug(title string) string {
	words := strings.FieldsFunc(strings.ToLower(title), func(r rune) bool { return !isAlphanumeric(r) })
	return strings.Join(words, "-")
}

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func texts(v any) []string {
	list := []string{}
	items, _ := v.([]any)
	for _, item := range items {
		if s, ok := item.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

func decodeModel(data []byte) (map[string]any, error) {
	var model map[string]any
	if err := json.Unmarshal(data, &model); err != nil {
		return nil, err
	}
	if text(model, "title") == "" {
		return nil, fmt.Errorf("the dashboard has no title")
	}
	return model, nil
}
