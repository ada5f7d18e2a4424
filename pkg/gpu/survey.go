package gpu

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// RuntimeClassNVIDIA is the name that NVIDIA's tools give to their runtime.
const RuntimeClassNVIDIA = "nvidia"

// Cluster is what a survey found.
type Cluster struct {
	Nodes              []Node // those with GPUs, by name
	TotalNodes         int    // all nodes
	Exporters          []Exporter
	Waiting            []Holder // pods that ask for GPUs and have no node yet
	RuntimeClassNVIDIA bool
	Denied             []Denied // what could not be read

	platform   Platform
	otherKeys  map[string]bool // labels of signs on nodes without GPUs
	otherTypes map[string]bool // instance types of nodes without GPUs
}

// Denied is a kind that the user may not list, and the API server's words.
type Denied struct {
	Kind   string
	Reason string
}

// Platform is who runs the control plane, as the nodes show it.
func (c *Cluster) Platform() Platform {
	if c.platform == "" {
		return PlatformGeneric
	}
	return c.platform
}

// Knows tells whether a kind could be read.
func (c *Cluster) Knows(kind string) bool {
	return !slices.ContainsFunc(c.Denied, func(d Denied) bool { return d.Kind == kind })
}

// Kinds as they are named in Denied.
const (
	KindNode          = "Node"
	KindPod           = "Pod"
	KindDaemonSet     = "DaemonSet"
	KindResourceSlice = "ResourceSlice"
	KindResourceClaim = "ResourceClaim"
	KindRuntimeClass  = "RuntimeClass"
)

// Survey reads nodes, pods, DaemonSets, the slices and claims of NVIDIA's DRA
// driver, and the RuntimeClass. It makes one request per kind and page of 500
// objects; of each page it keeps what concerns GPUs. A kind that the user may
// not list ends up in Denied; any other failure is returned.
//
// also are shown every pod that has not ended, one at a time, so that a caller
// with questions of its own need not list them again; they must not keep it.
func Survey(ctx context.Context, client kubernetes.Interface, also ...func(*corev1.Pod)) (*Cluster, error) {
	s := &survey{client: client, also: also, signs: signs(), pools: pools{}, exporters: map[string]*Exporter{}, cluster: &Cluster{otherKeys: map[string]bool{}, otherTypes: map[string]bool{}}}
	// Without slices nobody needs the claims, and a node may show its GPUs in
	// slices only, so these come first.
	if err := s.read(ctx, KindResourceSlice, s.readSlices); err != nil {
		return nil, err
	}
	s.slices = s.pools.byNode()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for kind, read := range map[string]func(context.Context) error{
		KindNode: s.readNodes, KindPod: s.readPods, KindDaemonSet: s.readDaemonSets,
		KindRuntimeClass: s.readRuntimeClass, KindResourceClaim: s.readClaims,
	} {
		wg.Go(func() {
			if err := s.read(ctx, kind, read); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	s.join()
	s.cluster.diagnose()
	return s.cluster, nil
}

// survey collects what the readers find; each of them writes fields of its own.
type survey struct {
	client kubernetes.Interface
	also   []func(*corev1.Pod)
	signs  []sign
	pools  pools
	slices map[string]*nodeSlices

	mu      sync.Mutex // guards cluster.Denied
	cluster *Cluster

	pods         []gpuPod
	exporterPods []exporterPod
	claims       []claim
	exporters    map[string]*Exporter
}

type gpuPod struct {
	node   string
	holder Holder
}

type exporterPod struct {
	pod      ExporterPod
	fallback *Exporter // when no DaemonSet of that name is known
}

type claim struct {
	namespace string
	pods      []string
	taken     map[string]Resources
}

func (s *survey) read(ctx context.Context, kind string, read func(context.Context) error) error {
	err := read(ctx)
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cluster.Denied = append(s.cluster.Denied, Denied{Kind: kind, Reason: err.Error()})
		return nil
	}
	if kind == KindRuntimeClass {
		return fmt.Errorf("read RuntimeClass %s: %w", RuntimeClassNVIDIA, err)
	}
	return fmt.Errorf("list %ss: %w", kind, err)
}

// readSlices finds nothing on API servers that don't serve the kind yet.
func (s *survey) readSlices(ctx context.Context) error {
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(resourcev1.ResourceSliceSelectorDriver, driverDRA).String()}
	err := eachPage(ctx, options, s.client.ResourceV1().ResourceSlices().List, func(page *resourcev1.ResourceSliceList) {
		for i := range page.Items {
			s.pools.add(&page.Items[i])
		}
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (s *survey) readClaims(ctx context.Context) error {
	if len(s.pools) == 0 {
		return nil
	}
	return eachPage(ctx, metav1.ListOptions{}, s.client.ResourceV1().ResourceClaims("").List, func(page *resourcev1.ResourceClaimList) {
		for i := range page.Items {
			c := &page.Items[i]
			if taken := s.pools.claimed(c); len(taken) > 0 {
				s.claims = append(s.claims, claim{c.Namespace, holdersOf(c), taken})
			}
		}
	})
}

func (s *survey) readNodes(ctx context.Context) error {
	c := s.cluster
	return eachPage(ctx, metav1.ListOptions{}, s.client.CoreV1().Nodes().List, func(page *corev1.NodeList) {
		c.TotalNodes += len(page.Items)
		for i := range page.Items {
			n := &page.Items[i]
			if p := platformOf(n); p != PlatformGeneric {
				c.platform = p
			}
			if node := newNode(n, s.signs, s.slices[n.Name]); node != nil {
				c.Nodes = append(c.Nodes, *node)
				continue
			}
			for _, sign := range s.signs {
				if _, ok := n.Labels[sign.key]; ok {
					c.otherKeys[sign.key] = true
				}
			}
			c.otherTypes[n.Labels[labelInstanceType]] = true
		}
	})
}

// readPods keeps the pods that hold or want GPUs and those of exporters.
func (s *survey) readPods(ctx context.Context) error {
	options := metav1.ListOptions{FieldSelector: "status.phase!=Succeeded,status.phase!=Failed"}
	return eachPage(ctx, options, s.client.CoreV1().Pods("").List, func(page *corev1.PodList) {
		for i := range page.Items {
			p := &page.Items[i]
			if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
				continue
			}
			for _, visit := range s.also {
				visit(p)
			}
			if gpus := requestsOf(&p.Spec); gpus.Total() > 0 {
				s.pods = append(s.pods, gpuPod{p.Spec.NodeName, Holder{p.Namespace, p.Name, gpus}})
			}
			if looksLikeExporter(p.Labels, &p.Spec) {
				e := exporterOfPod(p, metav1.GetControllerOf(p))
				s.exporterPods = append(s.exporterPods, exporterPod{exporterPodOf(p, e.String()), e})
			}
		}
	})
}

func (s *survey) readDaemonSets(ctx context.Context) error {
	return eachPage(ctx, metav1.ListOptions{}, s.client.AppsV1().DaemonSets("").List, func(page *appsv1.DaemonSetList) {
		for i := range page.Items {
			if e := exporterOfDaemonSet(&page.Items[i]); e != nil {
				s.exporters[e.String()] = e
			}
		}
	})
}

func (s *survey) readRuntimeClass(ctx context.Context) error {
	_, err := s.client.NodeV1().RuntimeClasses().Get(ctx, RuntimeClassNVIDIA, metav1.GetOptions{})
	s.cluster.RuntimeClassNVIDIA = err == nil
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// join brings pods, claims and exporters to their nodes.
func (s *survey) join() {
	c := s.cluster
	slices.SortStableFunc(c.Denied, func(a, b Denied) int { return cmp.Compare(a.Kind, b.Kind) })
	slices.SortStableFunc(c.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	nodes := make(map[string]*Node, len(c.Nodes))
	for i := range c.Nodes {
		nodes[c.Nodes[i].Name] = &c.Nodes[i]
	}
	for _, p := range s.pods {
		if p.node == "" {
			c.Waiting = append(c.Waiting, p.holder)
		} else if n := nodes[p.node]; n != nil {
			n.Holders = append(n.Holders, p.holder)
			n.Allocated.add(p.holder.GPUs)
		}
	}
	s.joinClaims(nodes)
	for _, p := range s.exporterPods {
		e := s.exporters[p.pod.Exporter]
		if e == nil {
			e = p.fallback
			s.exporters[p.pod.Exporter] = e
		}
		e.Pods = append(e.Pods, p.pod)
		if !c.Knows(KindDaemonSet) || !e.DaemonSet {
			e.Wanted++
			if p.pod.Ready {
				e.Ready++
			}
		}
		if n := nodes[p.pod.Node]; n != nil {
			n.Exporters = append(n.Exporters, p.pod)
			if p.pod.Ready {
				e.Covered++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.exporters)) {
		sortExporterPods(s.exporters[name].Pods)
		c.Exporters = append(c.Exporters, *s.exporters[name])
	}
	sortHolders(c.Waiting)
	for _, n := range nodes {
		sortHolders(n.Holders)
		sortExporterPods(n.Exporters)
	}
}

// joinClaims counts what is claimed through DRA. A pod whose containers ask for
// GPUs by resource name may be served by a claim of the scheduler's making,
// which is the same GPU and not another one.
func (s *survey) joinClaims(nodes map[string]*Node) {
	type key struct{ node, namespace, pod string }
	counted := map[key]bool{}
	for name, n := range nodes {
		for _, h := range n.Holders {
			counted[key{name, h.Namespace, h.Pod}] = true
		}
	}
	for _, claim := range s.claims {
		for name, taken := range claim.taken {
			n := nodes[name]
			if n == nil {
				continue
			}
			pods := slices.DeleteFunc(slices.Clone(claim.pods), func(pod string) bool { return counted[key{name, claim.namespace, pod}] })
			if len(pods) == 0 && len(claim.pods) > 0 {
				continue
			}
			n.Allocated.add(taken)
			for _, pod := range pods {
				n.hold(claim.namespace, pod, taken)
			}
		}
	}
}

// hold adds to what a pod holds; it may have several claims.
func (n *Node) hold(namespace, pod string, taken Resources) {
	i := slices.IndexFunc(n.Holders, func(h Holder) bool { return h.Namespace == namespace && h.Pod == pod })
	if i < 0 {
		n.Holders = append(n.Holders, Holder{Namespace: namespace, Pod: pod})
		i = len(n.Holders) - 1
	}
	n.Holders[i].GPUs.add(taken)
}

func sortHolders(h []Holder) {
	slices.SortStableFunc(h, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod))
	})
}
