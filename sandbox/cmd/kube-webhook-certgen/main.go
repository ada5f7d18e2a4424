// Command kube-webhook-certgen is the sandbox's program for the image of that
// name, which charts run as hooks: `create` makes a certificate for a webhook's
// Service and keeps it in a Secret, `patch` puts its authority into the webhook
// configurations.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "kube-webhook-certgen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say what to do: create or patch")
	}
	var o options
	flags := flag.NewFlagSet("kube-webhook-certgen "+args[0], flag.ContinueOnError)
	flags.StringVar(&o.hosts, "host", "", "comma-separated names that the certificate is for")
	flags.StringVar(&o.namespace, "namespace", "", "namespace of the Secret")
	flags.StringVar(&o.secret, "secret-name", "", "name of the Secret")
	flags.StringVar(&o.caName, "ca-name", "ca", "key of the authority")
	flags.StringVar(&o.certName, "cert-name", "cert", "key of the certificate")
	flags.StringVar(&o.keyName, "key-name", "key", "key of the private key")
	flags.StringVar(&o.webhook, "webhook-name", "", "name of the webhook configurations")
	flags.BoolVar(&o.mutating, "patch-mutating", true, "patch the mutating one")
	flags.BoolVar(&o.validating, "patch-validating", true, "patch the validating one")
	flags.StringVar(&o.failurePolicy, "patch-failure-policy", "", "Ignore or Fail; empty leaves it")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return fmt.Errorf("cannot read the pod's kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot make a client of the API server: %w", err)
	}
	switch args[0] {
	case "create":
		return o.create(ctx, client, strings.Split(o.hosts, ","))
	case "patch":
		return o.patch(ctx, client)
	}
	return fmt.Errorf("%q is neither create nor patch", args[0])
}
