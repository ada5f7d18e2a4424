package workload

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestClientSendsLocalhostToThePod(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
	}))
	defer proxy.Close()
	t.Setenv(EnvProxyURL, proxy.URL)
	t.Setenv(EnvPodIP, "10.244.0.7")
	client, err := Client()
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"http://localhost:9090/-/reload": "http://10.244.0.7:9090/-/reload",
		"http://127.0.0.1/x":             "http://10.244.0.7:80/x",
		"http://[::1]:3000/":             "http://10.244.0.7:3000/",
		"http://10.244.0.9:1/y":          "http://10.244.0.9:1/y",
	} {
		asked = nil
		response, err := client.Get(target)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if len(asked) != 1 || asked[0] != want {
			t.Errorf("%s was asked of the network as %q, want %q", target, asked, want)
		}
	}
}

func TestClientOutsideOfASandbox(t *testing.T) {
	t.Setenv(EnvProxyURL, "")
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	client, err := Client()
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}
