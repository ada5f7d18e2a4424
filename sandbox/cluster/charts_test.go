package cluster

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestChartRepositoryAndItsFaults(t *testing.T) {
	repository := &chartRepository{dir: t.TempDir()}
	content := strings.Repeat("chart", 100)
	for name, text := range map[string]string{"index.yaml": "apiVersion: v1\n", "a-1.tgz": content} {
		if err := os.WriteFile(filepath.Join(repository.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(repository)
	defer server.Close()
	get := func(name string) (int, string) {
		t.Helper()
		response, err := http.Get(server.URL + name)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	for _, tt := range []struct {
		fault, name string
		status      int
		intact      bool
	}{
		{"none", "/index.yaml", 200, true},
		{"none", "/a-1.tgz", 200, true},
		{"none", "/b-1.tgz", 404, false},
		{"none", "/../charts_test.go", 404, false},
		{"corrupt", "/index.yaml", 200, true},
		{"corrupt", "/a-1.tgz", 200, false},
		{"missing", "/index.yaml", 200, true},
		{"missing", "/a-1.tgz", 404, false},
		{"unavailable", "/index.yaml", 503, false},
	} {
		repository.set(ChartFault{Kind: tt.fault})
		status, text := get(tt.name)
		intact := text == content || text == "apiVersion: v1\n"
		if status != tt.status || intact != tt.intact {
			t.Errorf("%s with the fault %s: status %d, intact %v; want %d, %v", tt.name, tt.fault, status, intact, tt.status, tt.intact)
		}
	}
	repository.set(ChartFault{Kind: "none", Delay: 50 * time.Millisecond})
	begun := time.Now()
	if get("/index.yaml"); time.Since(begun) < 50*time.Millisecond {
		t.Error("the answer was not delayed")
	}
	for _, bad := range []ChartFault{{Kind: "slow"}, {Kind: "none", Delay: -1}} {
		if bad.Validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}
