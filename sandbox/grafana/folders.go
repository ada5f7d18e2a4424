package grafana

import (
	"cmp"
	"net/http"
	"slices"
	"time"
)

type folder struct {
	ID          int64     `json:"id"`
	UID         string    `json:"uid"`
	Title       string    `json:"title"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
	Version     int       `json:"version"`
	Provisioned bool      `json:"provisioned,omitempty"`
}

func (f *folder) url() string { return "/dashboards/f/" + f.UID + "/" + slug(f.Title) }

func (s *Server) folderRoutes(mux *http.ServeMux) {
	s.route(mux, "GET /api/folders", readFolders, s.listFolders)
	s.route(mux, "POST /api/folders", createFolders, s.postFolder)
	s.route(mux, "GET /api/folders/{uid}", readFolders, s.getFolder)
	s.route(mux, "DELETE /api/folders/{uid}", deleteFolders, s.deleteFolder)
}

func (s *Server) listFolders(w http.ResponseWriter, _ *http.Request, _ identity) {
	list := []map[string]any{}
	s.store.view(func(st *state) {
		for _, f := range st.Folders {
			list = append(list, map[string]any{"id": f.ID, "uid": f.UID, "title": f.Title})
		}
	})
	slices.SortFunc(list, func(a, b map[string]any) int { return cmp.Compare(a["title"].(string), b["title"].(string)) })
	respond(w, http.StatusOK, list)
}

func (s *Server) postFolder(w http.ResponseWriter, r *http.Request, by identity) {
	var cmd struct {
		UID   string `json:"uid"`
		Title string `json:"title"`
	}
	if fault := bind(w, r, &cmd); fault != nil {
		fault.write(w)
		return
	}
	var created folder
	fault := s.store.change(func(st *state) *apiError {
		if cmd.Title == "" {
			return failure(http.StatusBadRequest, "folder title cannot be empty")
		}
		if fault := validUID(cmd.UID); fault != nil {
			return fault
		}
		if cmd.UID != "" && (st.folder(cmd.UID) != nil || st.dashboard(cmd.UID) != nil) {
			return failure(http.StatusConflict, "a folder with the same UID already exists")
		}
		created = *st.addFolder(cmd.UID, cmd.Title, s.now())
		return nil
	})
	if fault != nil {
		fault.write(w)
		return
	}
	respond(w, http.StatusOK, folderView(&created, by))
}

func (s *Server) getFolder(w http.ResponseWriter, r *http.Request, by identity) {
	var view map[string]any
	s.store.view(func(st *state) {
		if f := st.folder(r.PathValue("uid")); f != nil {
			view = folderView(f, by)
		}
	})
	if view == nil {
		failure(http.StatusNotFound, "folder not found").write(w)
		return
	}
	respond(w, http.StatusOK, view)
}

func (s *Server) deleteFolder(w http.ResponseWriter, r *http.Request, _ identity) {
	uid := r.PathValue("uid")
	var removed folder
	fault := s.store.change(func(st *state) *apiError {
		f := st.folder(uid)
		if f == nil {
			return failure(http.StatusNotFound, "folder not found")
		}
		removed = *f
		st.Folders = slices.DeleteFunc(st.Folders, func(f *folder) bool { return f.UID == uid })
		st.Dashboards = slices.DeleteFunc(st.Dashboards, func(d *dashboard) bool { return d.FolderUID == uid })
		return nil
	})
	if fault != nil {
		fault.write(w)
		return
	}
	respond(w, http.StatusOK, map[string]any{"id": removed.ID, "message": "Folder deleted", "title": removed.Title})
}

func folderView(f *folder, by identity) map[string]any {
	edits := by.role >= Editor
	return map[string]any{
		"id": f.ID, "uid": f.UID, "orgId": 1, "title": f.Title, "url": f.url(), "hasAcl": false,
		"canSave": edits, "canEdit": edits, "canAdmin": by.role >= Admin, "canDelete": edits,
		"createdBy": "Anonymous", "created": f.Created, "updatedBy": "Anonymous", "updated": f.Updated, "version": f.Version,
	}
}

func (st *state) folder(uid string) *folder {
	for _, f := range st.Folders {
		if f.UID == uid {
			return f
		}
	}
	return nil
}

func (st *state) addFolder(uid, title string, now time.Time) *folder {
	id := st.nextID()
	f := &folder{ID: id, UID: cmp.Or(uid, generatedUID(title, id)), Title: title, Created: now.UTC(), Updated: now.UTC(), Version: 1}
	st.Folders = append(st.Folders, f)
	return f
}
