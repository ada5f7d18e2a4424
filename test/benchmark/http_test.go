//go:build benchmark

package benchmark

import (
	"net/http"
	"testing"
)

func httpClient(t *testing.T, dial dialFunc) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: dial, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}
