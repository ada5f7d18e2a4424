package plugin

import (
	"testing"

	"k8s.io/client-go/rest"
)

func TestLoginApart(t *testing.T) {
	for _, c := range []struct{ host, token, want, user, password string }{
		{"https://10.0.0.1:6443", "", "https://10.0.0.1:6443", "", ""},
		{"10.0.0.1:6443", "", "10.0.0.1:6443", "", ""},
		{"https://jane:s%40cret@api.example.com/k8s", "", "https://api.example.com/k8s", "jane", "s@cret"},
		{"https://jane:secret@api.example.com", "token", "https://api.example.com", "", ""},
		{"https://jane@api.example.com", "", "https://api.example.com", "jane", ""},
	} {
		config := &rest.Config{Host: c.host, BearerToken: c.token}
		loginApart(config)
		if config.Host != c.want || config.Username != c.user || config.Password != c.password || config.BearerToken != c.token {
			t.Errorf("%s: %s, %q, %q", c.host, config.Host, config.Username, config.Password)
		}
	}
}
