package grafana

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// always is a Grafana that has one answer to everything.
type always struct {
	status int
	body   []byte
}

func (a always) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Status: http.StatusText(a.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(a.body)), Request: req,
	}, nil
}

// FuzzAnswers: whatever answers at Grafana's address, each call ends with a value
// that can be used or with a sentence without secrets.
func FuzzAnswers(f *testing.F) {
	f.Add(200, []byte(`{"database":"ok","version":"13.2.0"}`))
	f.Add(200, []byte(`[{"id":3,"time":1700000000000,"timeEnd":1700000001000,"tags":["a"],"text":"Load Test Start"}]`))
	f.Add(200, []byte(`{"id":7,"uid":"x","title":"T","version":2,"slug":"t","url":"/d/x/t","status":"success","message":"saved"}`))
	f.Add(200, []byte(`{"dashboard":{"uid":"x","title":"T","version":1,"panels":[]},"meta":{"folderTitle":"F","provisioned":true}}`))
	f.Add(200, []byte(`[{"uid":"x","title":"T","folderTitle":"F","tags":null}]`))
	f.Add(401, []byte(`{"message":"Invalid password `+secretPassword+`"}`))
	f.Add(412, []byte(`{"status":"version-mismatch","message":"changed by someone else"}`))
	f.Add(302, []byte(`<html>login</html>`))
	f.Add(200, []byte(`null`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			return // net/http reads no others as the end of an answer
		}
		c, err := New("http://grafana.monitoring/sub", always{status, body}, Auth{User: "admin", Password: secretPassword})
		if err != nil {
			t.Fatal(err)
		}
		ctx, now := t.Context(), time.UnixMilli(1700000000000)
		check := func(call string, err error) bool {
			if err == nil {
				if status > 299 {
					t.Errorf("%s took status %d for a success", call, status)
				}
				return true
			}
			if text := err.Error(); !strings.HasPrefix(text, "could not ") || strings.Contains(text, secretPassword) {
				t.Errorf("%s: %v", call, err)
			}
			var unreachable *UnreachableError
			if errors.As(err, &unreachable) {
				t.Errorf("%s: there was an answer, but: %v", call, err)
			}
			return false
		}
		if h, err := c.Health(ctx); check("Health", err) && h.Database != "ok" {
			t.Errorf("healthy, but its database is %q", h.Database)
		}
		if id, err := c.StartRegion(ctx, Annotation{Time: now, Text: "Load Test Start"}); check("StartRegion", err) && id == 0 {
			t.Error("an annotation without an id")
		}
		found, err := c.FindAnnotations(ctx, []string{"loadtest"}, now, time.Time{})
		if check("FindAnnotations", err) {
			for _, a := range found {
				if !a.End.IsZero() && !a.End.After(a.Time) {
					t.Errorf("an annotation that ends %s, after it starts %s", a.End, a.Time)
				}
			}
		}
		_, err = c.SearchDashboards(ctx, "gpu")
		check("SearchDashboards", err)
		if d, err := c.DashboardByUID(ctx, "x"); check("DashboardByUID", err) && d.UID == "" {
			t.Error("a dashboard without uid")
		}
		_, err = c.Folders(ctx)
		check("Folders", err)
		_, err = c.CreateFolder(ctx, "F")
		check("CreateFolder", err)
		_, err = c.SaveDashboard(ctx, []byte(`{"uid":"x","title":"T"}`), "", false, "")
		check("SaveDashboard", err)
	})
}
