package grafana

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// annotation is an annotation as stored and as shown. Times are in
// milliseconds since the epoch.
type annotation struct {
	ID           int64           `json:"id"`
	AlertID      int64           `json:"alertId"`
	AlertName    string          `json:"alertName"`
	DashboardID  int64           `json:"dashboardId"`
	DashboardUID *string         `json:"dashboardUID"`
	PanelID      int64           `json:"panelId"`
	UserID       int64           `json:"userId"`
	NewState     string          `json:"newState"`
	PrevState    string          `json:"prevState"`
	Created      int64           `json:"created"`
	Updated      int64           `json:"updated"`
	Time         int64           `json:"time"`
	TimeEnd      int64           `json:"timeEnd"`
	Text         string          `json:"text"`
	Tags         []string        `json:"tags"`
	Login        string          `json:"login"`
	Email        string          `json:"email"`
	AvatarURL    string          `json:"avatarUrl"`
	Data         json.RawMessage `json:"data"`
}

// annotationCommand is the body of POST, PUT and PATCH.
type annotationCommand struct {
	DashboardID  int64           `json:"dashboardId"`
	DashboardUID string          `json:"dashboardUID"`
	PanelID      int64           `json:"panelId"`
	Time         int64           `json:"time"`
	TimeEnd      int64           `json:"timeEnd"`
	Text         string          `json:"text"`
	Tags         []string        `json:"tags"`
	Data         json.RawMessage `json:"data"`
}

func (s *Server) annotationRoutes(mux *http.ServeMux) {
	s.route(mux, "GET /api/annotations", readAnnotations, s.findAnnotations)
	s.route(mux, "POST /api/annotations", createAnnotations, s.postAnnotation)
	s.route(mux, "GET /api/annotations/tags", readAnnotations, s.annotationTags)
	s.route(mux, "GET /api/annotations/{id}", readAnnotations, s.getAnnotation)
	s.route(mux, "PUT /api/annotations/{id}", writeAnnotations, s.putAnnotation)
	s.route(mux, "PATCH /api/annotations/{id}", writeAnnotations, s.patchAnnotation)
	s.route(mux, "DELETE /api/annotations/{id}", deleteAnnotations, s.deleteAnnotation)
}

func (s *Server) postAnnotation(w http.ResponseWriter, r *http.Request, by identity) {
	var cmd annotationCommand
	if fault := bind(w, r, &cmd); fault != nil {
		fault.write(w)
		return
	}
	if cmd.Text == "" {
		failure(http.StatusBadRequest, "Failed to save annotation").write(w)
		return
	}
	now := s.now().UnixMilli()
	a := &annotation{
		PanelID: cmd.PanelID, UserID: by.id, Login: by.login, Email: by.email, Created: now, Updated: now,
		Time: cmp.Or(cmd.Time, now), TimeEnd: cmd.TimeEnd, Text: cmd.Text, Tags: joinTags(parseTags(cmd.Tags)), Data: orEmptyObject(cmd.Data),
	}
	a.orderTimes()
	fault := s.store.change(func(st *state) *apiError {
		if fault := a.validate(); fault != nil {
			return fault
		}
		for _, d := range st.Dashboards {
			if d.UID == cmd.DashboardUID || cmd.DashboardUID == "" && d.ID == cmd.DashboardID {
				a.DashboardID, a.DashboardUID = d.ID, &d.UID
			}
		}
		a.ID = st.nextID()
		st.Annotations = append(st.Annotations, a)
		return nil
	})
	if fault != nil {
		fault.write(w)
		return
	}
	respond(w, http.StatusOK, map[string]any{"message": "Annotation added", "id": a.ID})
}

func (s *Server) putAnnotation(w http.ResponseWriter, r *http.Request, _ identity) {
	var cmd annotationCommand
	if fault := bind(w, r, &cmd); fault != nil {
		fault.write(w)
		return
	}
	s.update(w, r, "Annotation updated", func(a *annotation) {
		a.Text = cmd.Text
		a.Tags = joinTags(parseTags(cmd.Tags))
		a.Time = cmp.Or(cmd.Time, a.Time)
		a.TimeEnd = cmp.Or(cmd.TimeEnd, a.TimeEnd)
		if cmd.Data != nil {
			a.Data = cmd.Data
		}
	})
}

func (s *Server) patchAnnotation(w http.ResponseWriter, r *http.Request, _ identity) {
	var cmd annotationCommand
	if fault := bind(w, r, &cmd); fault != nil {
		fault.write(w)
		return
	}
	s.update(w, r, "Annotation patched", func(a *annotation) {
		a.Text = cmp.Or(cmd.Text, a.Text)
		if cmd.Tags != nil {
			a.Tags = joinTags(parseTags(cmd.Tags))
		}
		if cmd.Time > 0 {
			a.Time = cmd.Time
		}
		if cmd.TimeEnd > 0 {
			a.TimeEnd = cmd.TimeEnd
		}
		if cmd.Data != nil {
			a.Data = cmd.Data
		}
	})
}

func (s *Server) update(w http.ResponseWriter, r *http.Request, done string, apply func(a *annotation)) {
	id, fault := annotationID(r)
	if fault == nil {
		fault = s.store.change(func(st *state) *apiError {
			existing := st.annotation(id)
			if existing == nil {
				return failure(http.StatusNotFound, "Annotation not found")
			}
			changed := *existing
			apply(&changed)
			changed.Updated = s.now().UnixMilli()
			changed.orderTimes()
			if fault := changed.validate(); fault != nil {
				return fault
			}
			*existing = changed
			return nil
		})
	}
	if fault != nil {
		fault.write(w)
		return
	}
	succeed(w, done)
}

func (s *Server) deleteAnnotation(w http.ResponseWriter, r *http.Request, _ identity) {
	id, fault := annotationID(r)
	if fault == nil {
		fault = s.store.change(func(st *state) *apiError {
			if st.annotation(id) == nil {
				return failure(http.StatusNotFound, "Annotation not found")
			}
			st.Annotations = slices.DeleteFunc(st.Annotations, func(a *annotation) bool { return a.ID == id })
			return nil
		})
	}
	if fault != nil {
		fault.write(w)
		return
	}
	succeed(w, "Annotation deleted")
}

func (s *Server) getAnnotation(w http.ResponseWriter, r *http.Request, _ identity) {
	id, fault := annotationID(r)
	if fault != nil {
		fault.write(w)
		return
	}
	var found *annotation
	s.store.view(func(st *state) {
		if a := st.annotation(id); a != nil {
			found = new(*a)
		}
	})
	if found == nil {
		failure(http.StatusNotFound, "Annotation not found").write(w)
		return
	}
	respond(w, http.StatusOK, found)
}

const defaultLimit = 100

func (s *Server) findAnnotations(w http.ResponseWriter, r *http.Request, _ identity) {
	q := r.URL.Query()
	found := []annotation{}
	s.store.view(func(st *state) {
		for _, a := range st.Annotations {
			if a.matches(q) {
				found = append(found, *a)
			}
		}
	})
	slices.SortStableFunc(found, func(a, b annotation) int {
		return cmp.Or(cmp.Compare(b.TimeEnd, a.TimeEnd), cmp.Compare(b.Time, a.Time))
	})
	limit := int(number(q, "limit"))
	if limit <= 0 {
		limit = defaultLimit
	}
	respond(w, http.StatusOK, found[:min(limit, len(found))])
}

func (s *Server) annotationTags(w http.ResponseWriter, r *http.Request, _ identity) {
	q := r.URL.Query()
	counts := map[string]int64{}
	s.store.view(func(st *state) {
		for _, a := range st.Annotations {
			for _, tag := range a.Tags {
				if strings.Contains(tag, q.Get("tag")) {
					counts[tag]++
				}
			}
		}
	})
	type tagCount struct {
		Tag   string `json:"tag"`
		Count int64  `json:"count"`
	}
	tags := []tagCount{}
	for tag, count := range counts {
		tags = append(tags, tagCount{tag, count})
	}
	slices.SortFunc(tags, func(a, b tagCount) int { return cmp.Compare(a.Tag, b.Tag) })
	limit := int(number(q, "limit"))
	if limit <= 0 {
		limit = defaultLimit
	}
	respond(w, http.StatusOK, map[string]any{"result": map[string]any{"tags": tags[:min(limit, len(tags))]}})
}

func (a *annotation) matches(q url.Values) bool {
	if from, to := number(q, "from"), number(q, "to"); from > 0 && to > 0 && (a.Time > to || a.TimeEnd < from) {
		return false
	}
	for parameter, value := range map[string]int64{
		"annotationId": a.ID, "alertId": a.AlertID, "dashboardId": a.DashboardID, "panelId": a.PanelID, "userId": a.UserID,
	} {
		if wanted := number(q, parameter); wanted != 0 && wanted != value {
			return false
		}
	}
	if uid := q.Get("dashboardUID"); uid != "" && (a.DashboardUID == nil || *a.DashboardUID != uid) {
		return false
	}
	switch q.Get("type") {
	case "alert":
		if a.AlertID == 0 {
			return false
		}
	case "annotation":
		if a.AlertID != 0 {
			return false
		}
	}
	matchAny, _ := strconv.ParseBool(q.Get("matchAny"))
	return tagsMatch(a.Tags, q["tags"], matchAny)
}

// orderTimes makes the annotation a region that ends no earlier than it begins.
func (a *annotation) orderTimes() {
	a.TimeEnd = cmp.Or(a.TimeEnd, a.Time)
	if a.TimeEnd < a.Time {
		a.Time, a.TimeEnd = a.TimeEnd, a.Time
	}
}

func (a *annotation) validate() *apiError {
	if encodedTagsLength(a.Tags) > maxTagsBytes {
		return publicError(http.StatusBadRequest, "annotations.tag-limit-exceeded", "Tags length exceeds the maximum allowed.")
	}
	return nil
}

func (st *state) annotation(id int64) *annotation {
	for _, a := range st.Annotations {
		if a.ID == id {
			return a
		}
	}
	return nil
}

func annotationID(r *http.Request) (int64, *apiError) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, failure(http.StatusBadRequest, "annotationId is invalid")
	}
	return id, nil
}

// number reads a query parameter as Grafana does: what isn't a number is 0.
func number(q url.Values, name string) int64 {
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func orEmptyObject(data json.RawMessage) json.RawMessage {
	if data == nil {
		return json.RawMessage("{}")
	}
	return data
}
