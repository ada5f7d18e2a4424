package plugin

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestRequestsSayWhoAsks: an access log tells this program from others.
func TestRequestsSayWhoAsks(t *testing.T) {
	var agent string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { agent = r.UserAgent() }))
	defer server.Close()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}
	client := httpClient(dial)
	defer client.CloseIdleConnections()
	for header, want := range map[string]string{"": "kubectl-triton/" + ownVersion().Version, "own": "own"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tritonURL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set("User-Agent", header)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if agent != want {
			t.Errorf("the request says %q, want %q", agent, want)
		}
		if req.Header.Get("User-Agent") != header {
			t.Error("the caller's request was changed")
		}
	}
}
