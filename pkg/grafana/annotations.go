package grafana

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Annotation marks a moment, or with End a region, on every dashboard that
// shows its tags. Grafana keeps times to the millisecond.
type Annotation struct {
	ID   int64 // set by Grafana
	Time time.Time
	End  time.Time // zero for a moment
	Tags []string
	Text string // must not be empty
}

// wireAnnotation is an annotation as the API has it; times are ms since 1970.
type wireAnnotation struct {
	ID      int64    `json:"id,omitempty"`
	Time    int64    `json:"time,omitempty"`
	TimeEnd int64    `json:"timeEnd,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	Text    string   `json:"text,omitempty"`
}

// StartRegion marks the beginning of a region and returns the annotation's id
// for EndRegion. a.End is ignored.
func (c *Client) StartRegion(ctx context.Context, a Annotation) (id int64, err error) {
	a.End = time.Time{}
	return c.post(ctx, "annotate the start of the test in Grafana", a)
}

// EndRegion gives the annotation its end, and a new text unless that is empty.
func (c *Client) EndRegion(ctx context.Context, id int64, end time.Time, text string) error {
	return c.call(ctx, "annotate the end of the test in Grafana", http.MethodPatch, annotationPath(id), nil,
		wireAnnotation{TimeEnd: end.UnixMilli(), Text: text}, nil)
}

// PostRegion posts a whole region at once, as is needed when its start could
// not be posted at the time.
func (c *Client) PostRegion(ctx context.Context, a Annotation) (id int64, err error) {
	if !a.End.After(a.Time) {
		return 0, fmt.Errorf("a region must end after it starts, not at %s after %s", a.End.Format(time.RFC3339Nano), a.Time.Format(time.RFC3339Nano))
	}
	return c.post(ctx, "annotate the test in Grafana", a)
}

func (c *Client) post(ctx context.Context, doing string, a Annotation) (int64, error) {
	if a.Text == "" {
		return 0, errors.New("an annotation needs a text")
	}
	body := wireAnnotation{Time: a.Time.UnixMilli(), Tags: a.Tags, Text: a.Text}
	if !a.End.IsZero() {
		body.TimeEnd = a.End.UnixMilli()
	}
	var answer struct {
		ID int64 `json:"id"`
	}
	if err := c.call(ctx, doing, http.MethodPost, "/api/annotations", nil, body, &answer); err != nil {
		return 0, err
	}
	if answer.ID == 0 {
		return 0, &StatusError{doing: doing, Address: c.base.String(), Status: http.StatusOK, Message: "its answer holds no annotation id"}
	}
	return answer.ID, nil
}

// maxFound bounds one search for annotations.
const maxFound = 1000

// FindAnnotations lists the annotations that have all the tags and touch the
// time from from to to, newest first. Zero times leave that side open.
func (c *Client) FindAnnotations(ctx context.Context, tags []string, from, to time.Time) ([]Annotation, error) {
	query := url.Values{"tags": tags, "type": {"annotation"}, "limit": {strconv.Itoa(maxFound)}}
	// Grafana ignores one bound without the other.
	if !from.IsZero() || !to.IsZero() {
		if to.IsZero() {
			to = time.Now().Add(24 * time.Hour)
		}
		if from.IsZero() {
			from = time.UnixMilli(1)
		}
		query.Set("from", strconv.FormatInt(from.UnixMilli(), 10))
		query.Set("to", strconv.FormatInt(to.UnixMilli(), 10))
	}
	var answer []wireAnnotation
	if err := c.call(ctx, "list annotations in Grafana", http.MethodGet, "/api/annotations", query, nil, &answer); err != nil {
		return nil, err
	}
	found := make([]Annotation, len(answer))
	for i, w := range answer {
		found[i] = Annotation{ID: w.ID, Time: time.UnixMilli(w.Time), Tags: w.Tags, Text: w.Text}
		// Grafana stores a moment as a region without length.
		if w.TimeEnd > w.Time {
			found[i].End = time.UnixMilli(w.TimeEnd)
		}
	}
	return found, nil
}

// DeleteAnnotation removes an annotation.
func (c *Client) DeleteAnnotation(ctx context.Context, id int64) error {
	return c.call(ctx, "delete an annotation in Grafana", http.MethodDelete, annotationPath(id), nil, nil, nil)
}

func annotationPath(id int64) string { return "/api/annotations/" + strconv.FormatInt(id, 10) }
