package plugin

import (
	"context"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// cluster is the API server that the user's kubeconfig and flags lead to.
type cluster struct {
	rest    *rest.Config
	client  kubernetes.Interface
	context string
	// probe asks whether a Service's pods answer as Triton; nil asks them.
	probe func(ctx context.Context, svc *corev1.Service) error
}

func connect(flags *genericclioptions.ConfigFlags) (*cluster, error) {
	loader := flags.ToRawKubeConfigLoader()
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, explainConfig(err)
	}
	if clientcmdapi.IsConfigEmpty(&raw) && *flags.APIServer == "" {
		// Without this the library would try localhost:8080.
		if _, err := rest.InClusterConfig(); err != nil {
			return nil, explainConfig(clientcmd.ErrEmptyConfig)
		}
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, explainConfig(err)
	}
	loginApart(config)
	// The library's five requests per second are meant for controllers.
	config.QPS, config.Burst = 50, 100
	config.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, explainConfig(err)
	}
	c := &cluster{rest: config, client: client, context: raw.CurrentContext}
	if flags.Context != nil && *flags.Context != "" {
		c.context = *flags.Context
	}
	return c, nil
}

// loginApart takes a login out of the server's address, which messages print,
// and keeps it for the requests, as net/http does: any other login goes first.
func loginApart(config *rest.Config) {
	u, err := url.Parse(config.Host)
	if err != nil || u.User == nil {
		return
	}
	login := u.User
	u.User = nil
	config.Host = u.String()
	if config.BearerToken == "" && config.BearerTokenFile == "" && config.Username == "" && config.ExecProvider == nil && config.AuthProvider == nil {
		config.Username = login.Username()
		config.Password, _ = login.Password()
	}
}
