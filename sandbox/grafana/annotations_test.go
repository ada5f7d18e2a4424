package grafana

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func ids(annotations []map[string]any) []int {
	list := []int{}
	for _, a := range annotations {
		list = append(list, int(a["id"].(float64)))
	}
	return list
}

// The life of a load test's annotation.
func TestRegion(t *testing.T) {
	c := newClient(t, nil)
	wantBody(t, c.object(http.MethodPost, "/api/annotations", `{"time":1000,"tags":["load-test","model:simple"],"text":"Load Test Start"}`, http.StatusOK),
		`{"message":"Annotation added","id":1}`)
	a := c.object(http.MethodGet, "/api/annotations/1", "", http.StatusOK)
	if a["time"] != 1000.0 || a["timeEnd"] != 1000.0 || a["login"] != "admin" || a["dashboardUID"] != nil || a["created"] != 1_700_000_000_000.0 {
		t.Errorf("added %v", a)
	}
	*c.clock = c.clock.Add(time.Second)
	wantBody(t, c.object(http.MethodPatch, "/api/annotations/1", `{"timeEnd":31000,"text":"Load Test Stop"}`, http.StatusOK), `{"message":"Annotation patched"}`)
	a = c.object(http.MethodGet, "/api/annotations/1", "", http.StatusOK)
	if a["time"] != 1000.0 || a["timeEnd"] != 31000.0 || a["text"] != "Load Test Stop" || fmt.Sprint(a["tags"]) != "[load-test model:simple]" || a["updated"] != 1_700_000_001_000.0 {
		t.Errorf("patched %v", a)
	}
	wantBody(t, c.object(http.MethodPut, "/api/annotations/1", `{"text":"put","time":2000}`, http.StatusOK), `{"message":"Annotation updated"}`)
	a = c.object(http.MethodGet, "/api/annotations/1", "", http.StatusOK)
	if a["text"] != "put" || a["time"] != 2000.0 || a["timeEnd"] != 31000.0 || fmt.Sprint(a["tags"]) != "[]" {
		t.Errorf("put %v", a)
	}
	wantBody(t, c.object(http.MethodDelete, "/api/annotations/1", "", http.StatusOK), `{"message":"Annotation deleted"}`)
	c.object(http.MethodGet, "/api/annotations/1", "", http.StatusNotFound)
}

func TestAnnotationTimes(t *testing.T) {
	c := newClient(t, nil)
	now := 1_700_000_000_000.0
	for _, tc := range []struct {
		body          string
		time, timeEnd float64
	}{
		{`{"text":"now"}`, now, now},
		{`{"text":"point","time":5}`, 5, 5},
		{`{"text":"region","time":5,"timeEnd":7}`, 5, 7},
		{`{"text":"the wrong way round","time":7,"timeEnd":5}`, 5, 7},
		{`{"text":"end only","timeEnd":5}`, 5, now},
	} {
		id := c.object(http.MethodPost, "/api/annotations", tc.body, http.StatusOK)["id"]
		a := c.object(http.MethodGet, fmt.Sprint("/api/annotations/", id), "", http.StatusOK)
		if a["time"] != tc.time || a["timeEnd"] != tc.timeEnd {
			t.Errorf("%s: from %v to %v", tc.body, a["time"], a["timeEnd"])
		}
	}
}

func TestAnnotationRefusals(t *testing.T) {
	c := newClient(t, nil)
	c.object(http.MethodPost, "/api/annotations", `{"text":"x","tags":["a"]}`, http.StatusOK)
	long := strings.Repeat("x", 600)
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		message            string
	}{
		"no text":             {"POST", "/api/annotations", `{"time":1,"tags":["a"]}`, 400, "Failed to save annotation"},
		"empty text":          {"POST", "/api/annotations", `{"text":""}`, 400, "Failed to save annotation"},
		"empty body":          {"POST", "/api/annotations", `{}`, 400, "Failed to save annotation"},
		"not JSON":            {"POST", "/api/annotations", `{"text":`, 400, "bad request data"},
		"a list":              {"POST", "/api/annotations", `[]`, 400, "bad request data"},
		"time as text":        {"POST", "/api/annotations", `{"text":"x","time":"now"}`, 400, "bad request data"},
		"time with fraction":  {"POST", "/api/annotations", `{"text":"x","time":1.5}`, 400, "bad request data"},
		"tags as text":        {"POST", "/api/annotations", `{"text":"x","tags":"a,b"}`, 400, "bad request data"},
		"tags too long":       {"POST", "/api/annotations", `{"text":"x","tags":["` + long + `"]}`, 400, "Tags length exceeds the maximum allowed."},
		"patched to too long": {"PATCH", "/api/annotations/1", `{"tags":["` + long + `"]}`, 400, "Tags length exceeds the maximum allowed."},
		"unknown id":          {"PATCH", "/api/annotations/99", `{"text":"x"}`, 404, "Annotation not found"},
		"put unknown id":      {"PUT", "/api/annotations/99", `{"text":"x"}`, 404, "Annotation not found"},
		"delete unknown id":   {"DELETE", "/api/annotations/99", "", 404, "Annotation not found"},
		"id not a number":     {"PATCH", "/api/annotations/x", `{"text":"x"}`, 400, "annotationId is invalid"},
		"patch not JSON":      {"PATCH", "/api/annotations/1", `x`, 400, "bad request data"},
	} {
		t.Run(name, func(t *testing.T) {
			c := *c
			c.t = t
			if refusal := c.object(tc.method, tc.path, tc.body, tc.status); refusal["message"] != tc.message {
				t.Errorf("%v, want the message %q", refusal, tc.message)
			}
		})
	}
	if a := c.object(http.MethodGet, "/api/annotations/1", "", http.StatusOK); a["text"] != "x" || fmt.Sprint(a["tags"]) != "[a]" {
		t.Errorf("a refused request changed the annotation: %v", a)
	}
	c.as(func(r *http.Request) { basic("admin", "secret")(r); r.Header.Set("Content-Type", "text/plain") }).
		object(http.MethodPost, "/api/annotations", `{"text":"x"}`, http.StatusBadRequest)
}

func TestFindAnnotations(t *testing.T) {
	c := newClient(t, nil)
	dash := c.object(http.MethodPost, "/api/dashboards/db", `{"dashboard":{"title":"T","uid":"dash"}}`, http.StatusOK)
	for _, body := range []string{
		`{"text":"2","time":100,"timeEnd":200,"tags":["load-test","env:prod"]}`,
		`{"text":"3","time":300,"timeEnd":400,"tags":["load-test","env:dev"]}`,
		`{"text":"4","time":500,"tags":["deploy"," deploy ",""]}`,
		`{"text":"5","time":600,"dashboardUID":"dash","panelId":7}`,
	} {
		c.object(http.MethodPost, "/api/annotations", body, http.StatusOK)
	}
	for query, want := range map[string][]int{
		"":                              {5, 4, 3, 2},
		"?tags=load-test":               {3, 2},
		"?tags=load-test&tags=env:prod": {2},
		"?tags=load-test&tags=deploy":   {},
		"?tags=env:prod&tags=deploy&matchAny=true": {4, 2},
		"?tags=env":                             {3, 2},
		"?tags=":                                {5, 4, 3, 2},
		"?from=150&to=350":                      {3, 2},
		"?from=200&to=300":                      {3, 2},
		"?from=201&to=299":                      {},
		"?from=450":                             {5, 4, 3, 2},
		"?limit=2":                              {5, 4},
		"?type=annotation&limit=1":              {5},
		"?type=alert":                           {},
		"?dashboardUID=dash":                    {5},
		"?dashboardUID=other":                   {},
		fmt.Sprint("?dashboardId=", dash["id"]): {5},
		"?panelId=7":                            {5},
		"?limit=x&from=y":                       {5, 4, 3, 2},
	} {
		if got := ids(c.list("/api/annotations" + query)); !slices.Equal(got, want) {
			t.Errorf("%s: found %v, want %v", query, got, want)
		}
	}
	tags := c.object(http.MethodGet, "/api/annotations/tags?tag=e", "", http.StatusOK)
	wantBody(t, tags, `{"result":{"tags":[{"count":1,"tag":"deploy"},{"count":1,"tag":"env:dev"},{"count":1,"tag":"env:prod"},{"count":2,"tag":"load-test"}]}}`)
	c.object(http.MethodDelete, "/api/dashboards/uid/dash", "", http.StatusOK)
	if got := ids(c.list("/api/annotations?panelId=7")); len(got) != 0 {
		t.Errorf("annotations %v outlived their dashboard", got)
	}
}

func TestConcurrentAnnotations(t *testing.T) {
	c := newClient(t, func(cfg *Config) { cfg.DataDir = t.TempDir() })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				id := c.object(http.MethodPost, "/api/annotations", `{"text":"x","tags":["a"]}`, http.StatusOK)["id"]
				c.object(http.MethodPatch, fmt.Sprint("/api/annotations/", id), `{"text":"y"}`, http.StatusOK)
				c.list("/api/annotations?tags=a")
			}
		})
	}
	wg.Wait()
	if found := c.list("/api/annotations?limit=1000"); len(found) != 80 {
		t.Errorf("%d annotations, want 80", len(found))
	}
}

func FuzzTags(f *testing.F) {
	f.Add("a", "b:c", "a")
	f.Add(":", " x : y ", "x:y:z")
	f.Fuzz(func(t *testing.T, a, b, wanted string) {
		pairs := parseTags([]string{a, b})
		again := parseTags(joinTags(pairs))
		if len(again) > len(pairs) {
			t.Errorf("%q, %q: %v became %v", a, b, pairs, again)
		}
		if tagsMatch([]string{a, b}, []string{wanted}, false) && !tagsMatch([]string{a, b}, []string{wanted}, true) {
			t.Errorf("%q: all match but none does", wanted)
		}
	})
}
