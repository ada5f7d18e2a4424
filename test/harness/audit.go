package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Request is one that a client sent to the API server, as its audit log has it.
type Request struct {
	Verb      string
	URI       *url.URL
	UserAgent string
	// Resource is the kind's plural with its group, as pods or daemonsets.apps,
	// and the subresource after a slash; Name is empty for lists.
	Resource, Namespace, Name string
}

// String is the verb and the address.
func (r Request) String() string { return r.Verb + " " + r.URI.String() }

// Audit runs do and returns what clients asked the API server for meanwhile, but
// for the tests' own and what do asked through the harness. The sandbox has to be
// one with --audit, whose API server writes each request down before it answers.
func (s *Sandbox) Audit(t testing.TB, do func()) []Request {
	t.Helper()
	path := filepath.Join(filepath.Dir(s.Kubeconfig), "audit.log")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	do()
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var requests []Request
	for line := range bytes.Lines(log[before.Size():]) {
		r, err := readRequest(line)
		if err != nil {
			t.Fatalf("a line of the audit log can't be read: %v\n%s", err, line)
		}
		if !strings.HasPrefix(r.UserAgent, filepath.Base(os.Args[0])) {
			requests = append(requests, r)
		}
	}
	return requests
}

func readRequest(line []byte) (Request, error) {
	var event struct {
		Verb       string `json:"verb"`
		RequestURI string `json:"requestURI"`
		UserAgent  string `json:"userAgent"`
		ObjectRef  struct {
			Resource    string `json:"resource"`
			Subresource string `json:"subresource"`
			APIGroup    string `json:"apiGroup"`
			Namespace   string `json:"namespace"`
			Name        string `json:"name"`
		} `json:"objectRef"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return Request{}, err
	}
	uri, err := url.Parse(event.RequestURI)
	if err != nil || event.Verb == "" {
		return Request{}, fmt.Errorf("verb %q, address %q: %w", event.Verb, event.RequestURI, err)
	}
	o := event.ObjectRef
	r := Request{Verb: event.Verb, URI: uri, UserAgent: event.UserAgent, Resource: o.Resource, Namespace: o.Namespace, Name: o.Name}
	if o.APIGroup != "" {
		r.Resource += "." + o.APIGroup
	}
	if o.Subresource != "" {
		r.Resource += "/" + o.Subresource
	}
	return r, nil
}
