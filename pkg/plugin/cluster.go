package plugin

import (
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// cluster is the API server that the user's kubeconfig and flags lead to.
type cluster struct {
	rest    *rest.Config
	client  kubernetes.Interface
	context string
}

func connect(flags *genericclioptions.ConfigFlags) (*cluster, error) {
	loader := flags.ToRawKubeConfigLoader()
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, explainConfig(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, explainConfig(err)
	}
	c := &cluster{rest: config, client: client}
	if raw, err := loader.RawConfig(); err == nil {
		c.context = raw.CurrentContext
	}
	if flags.Context != nil && *flags.Context != "" {
		c.context = *flags.Context
	}
	return c, nil
}
