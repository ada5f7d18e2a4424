package stack

import (
	"context"
	"fmt"
	"sync"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/storage/driver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	memcache "k8s.io/client-go/discovery/cached/memory"
)

const (
	// requestsAtOnce is how many objects are looked at side by side.
	requestsAtOnce = 16
	// requestTimeout bounds one request. Helm and discovery know no context:
	// without it a server that went silent would hold them for ever.
	requestTimeout = 30 * time.Second
)

// Client reaches one cluster for everything this package does.
type Client struct {
	rest       *rest.Config
	kubernetes kubernetes.Interface
	dynamic    dynamic.Interface
	discovery  discovery.CachedDiscoveryInterface
	mapper     *restmapper.DeferredDiscoveryRESTMapper
	loader     clientcmd.ClientConfig
	// helm opens what Helm works with in a namespace: its records and what
	// carries its operations out.
	helm func(namespace string) (driver.Driver, kube.Interface)
}

// NewClient makes a Client of the cluster that config leads to; loader gives
// Helm the kubeconfig that config came from.
func NewClient(config *rest.Config, loader clientcmd.ClientConfig) (*Client, error) {
	config = rest.CopyConfig(config)
	// A plan asks for each object of two charts.
	config.QPS, config.Burst = 200, 400
	config.Timeout = requestTimeout
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of the API server: %w", err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of the API server: %w", err)
	}
	// Discovery in memory only: a cache on disk may lack CRDs that are there by now.
	disc := memcache.NewMemCacheClient(typed.Discovery())
	c := &Client{
		rest: config, kubernetes: typed, dynamic: dyn, discovery: disc, loader: loader,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(disc),
	}
	c.helm = func(namespace string) (driver.Driver, kube.Interface) {
		return c.secrets(namespace), newCarrier(factory{c.getter(namespace), c.dynamic})
	}
	return c, nil
}

// Kubernetes is the typed client.
func (c *Client) Kubernetes() kubernetes.Interface { return c.kubernetes }

// resource is where the API server keeps an object.
func (c *Client) resource(r Ref) (dynamic.ResourceInterface, error) {
	mapping, err := c.mapper.RESTMapping(r.GroupKind(), r.Version)
	if meta.IsNoMatchError(err) && r.Version != "" {
		mapping, err = c.mapper.RESTMapping(r.GroupKind())
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.dynamic.Resource(mapping.Resource), nil
	}
	return c.dynamic.Resource(mapping.Resource).Namespace(r.Namespace), nil
}

// namespaced says whether objects of the kind live in namespaces.
func (c *Client) namespaced(r Ref) (bool, error) {
	mapping, err := c.mapper.RESTMapping(r.GroupKind(), r.Version)
	if err != nil {
		return false, err
	}
	return mapping.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

// forget makes the next request ask the API server anew which kinds it has.
func (c *Client) forget() { c.mapper.Reset() }

// getter lends the client to Helm and to cli-runtime.
type getter struct {
	rest      *rest.Config
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.RESTMapper
	loader    clientcmd.ClientConfig
	namespace string
}

var _ genericclioptions.RESTClientGetter = getter{}

func (c *Client) getter(namespace string) getter {
	return getter{c.rest, c.discovery, c.mapper, c.loader, namespace}
}

func (g getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.rest), nil }
func (g getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.discovery, nil
}
func (g getter) ToRESTMapper() (meta.RESTMapper, error) { return g.mapper, nil }
func (g getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return inNamespace{g.loader, g.namespace}
}

type kubeconfig = clientcmd.ClientConfig

// inNamespace gives objects without a namespace the release's own, where Helm
// would take the kubeconfig's.
type inNamespace struct {
	kubeconfig
	namespace string
}

func (l inNamespace) Namespace() (string, bool, error) { return l.namespace, true, nil }

// missing says that an object, or its whole kind, is not there.
func missing(err error) bool { return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) }

// within is f's answer, or ctx's error if that comes first: f itself takes no
// context and goes on until its request times out.
func within[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		value, err := f()
		got <- answer{value, err}
	}()
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// each runs f for all items, some at once, and gives what failed as one error;
// it stops starting new ones when ctx ends.
func each[T any](ctx context.Context, items []T, f func(context.Context, int, T) error) error {
	var (
		wg     sync.WaitGroup
		slots  = make(chan struct{}, requestsAtOnce)
		failed = make([]error, len(items))
	)
	for i, item := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			wg.Wait()
			return ctx.Err()
		}
		wg.Go(func() {
			defer func() { <-slots }()
			failed[i] = f(ctx, i, item)
		})
	}
	wg.Wait()
	return join(1, failed...)
}
