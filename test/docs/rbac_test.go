//go:build e2e

package docs

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// duty is what somebody with exactly one file of docs/rbac does.
type duty struct {
	file  string
	args  []string
	until string // the command runs until Ctrl-C; this on standard error says that it works
	alone bool   // it also runs with the needed role alone
	// without is what it says then.
	without string
	// wholeRules are taken away from the needed role one at a time, instead of verbs.
	wholeRules bool
	// runsOn says that without something it says so and ends well.
	runsOn bool
	// still is what it says even with the whole file: the rest would be those of
	// another command.
	still string
	// unlabelled takes the label from a GPU node before each run.
	unlabelled bool
}

// TestRBAC: each command works with exactly its file of docs/rbac, says what is
// missing with the needed role alone, and names each permission that is taken
// from that.
func TestRBAC(t *testing.T) {
	// From nothing, and without the kinds that observe up brings.
	sandbox.Must(t, "kubectl-triton", "observe", "down", "--purge", "--yes")
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring"}}
	if _, err := sandbox.Client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	// As the page has it, for a person who reads it in a clone.
	for _, s := range steps(t, "docs/rbac.md") {
		follow(t, s, root, append(os.Environ(), "KUBECONFIG="+sandbox.Kubeconfig, "PATH="+sandbox.Bin+":"+os.Getenv("PATH")))
	}
	imported := filepath.Join(t.TempDir(), "dashboard.json")
	if err := os.WriteFile(imported, []byte(`{"uid":"rbac","title":"Permissions","panels":[],"schemaVersion":39}`), 0o600); err != nil {
		t.Fatal(err)
	}
	bench := []string{"bench", "resnet50", "--requests", "5", "--warmup", "0"}
	explicit := `[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--model-control-mode=explicit"},{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--load-model=*"}]`
	sandbox.Must(t, "kubectl", "patch", "deployment", "triton-infer", "--namespace", "triton", "--type", "json", "--patch", explicit)
	sandbox.Must(t, "kubectl", "rollout", "status", "deployment/triton-infer", "--namespace", "triton", "--timeout", "1m")
	for _, d := range []duty{
		{file: "observe-up", args: []string{"observe", "up", "--chart-repo", charts, "--timeout", "3m"}, wholeRules: true},
		{file: "observe-status", args: []string{"observe", "status"}, alone: true, wholeRules: true, runsOn: true, still: "0 of 76 objects could be compared: you may not read it"},
		{file: "observe-render", args: []string{"observe", "render", "--chart-repo", charts, "-o", "values"}, alone: true, wholeRules: true, runsOn: true},
		{file: "observe-open", args: []string{"observe", "open", "--no-browser", "--port", "0"}, until: "until Ctrl-C", alone: true, runsOn: true},
		{file: "bench", args: bench, alone: true, without: "does not allow it", runsOn: true},
		{file: "models", args: []string{"models"}, alone: true},
		{file: "models", args: []string{"models", "load", "resnet50"}, alone: true},
		{file: "models", args: []string{"models", "unload", "resnet50", "--yes"}, alone: true},
		{file: "models", args: []string{"models", "load", "resnet50"}, alone: true}, // for the tests after this one
		{file: "version", args: []string{"version"}, alone: true, without: "does not allow it"},
		{file: "nodes", args: []string{"nodes", "-o", "wide"}, alone: true, without: "does not allow it", runsOn: true},
		{file: "nodes-label", args: []string{"nodes", "label", "--yes"}, alone: true, runsOn: true, unlabelled: true},
		{file: "check", args: []string{"check", "--wait", "1m"}},
		{file: "dashboards", args: []string{"dashboards", "list"}, alone: true},
		{file: "dashboards", args: []string{"dashboards", "export", "loadtest-annotated"}, alone: true},
		{file: "dashboards", args: []string{"dashboards", "import", imported, "--overwrite"}, alone: true},
		{file: "observe-down", args: []string{"observe", "down"}},
		{file: "observe-down-purge", args: []string{"observe", "down", "--purge", "--yes"}},
	} {
		t.Run(strings.Join(d.args[:min(2, len(d.args))], " "), func(t *testing.T) { perform(t, d) })
	}
}

func perform(t *testing.T, d duty) {
	all := readRoles(t, d.file)
	// The needed role has the file's name, the further one a longer name.
	needed := slices.DeleteFunc(slices.Clone(all), func(r rbacv1.ClusterRole) bool { return r.Name != "kubectl-triton-"+d.file })
	p := newPerson(t, d.file)
	if d.unlabelled {
		defer sandbox.Must(t, "kubectl", "label", "node", "gpu-node-1", "nvidia.com/gpu.present=true", "--overwrite")
	}
	p.may(t, all)
	o := p.run(t, d)
	known := d.file == "check" || d.still != "" && strings.Contains(words(o), d.still)
	if said := missing(o); o.Code != 0 || said != "" && !known {
		t.Fatalf("with all of %s.yaml: exit code %d, %q in\n%s%s", d.file, o.Code, said, o.Stdout, o.Stderr)
	}
	t.Logf("with all of %s.yaml: %s", d.file, o.Took.Round(10*time.Millisecond))
	if d.file == "check" {
		asAdministrator(t, o)
	}
	if d.alone {
		p.may(t, needed)
		o = p.run(t, d)
		if o.Code != 0 || d.without != "" && !strings.Contains(words(o), d.without) {
			t.Errorf("with the needed role alone: exit code %d, %q is not in\n%s%s", o.Code, d.without, o.Stdout, o.Stderr)
		}
	}
	taken := 0
	for i, role := range needed {
		for j, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				less := slices.Clone(needed)
				less[i].Rules = slices.Clone(role.Rules)
				less[i].Rules[j].Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return v == verb || d.wholeRules })
				if len(less[i].Rules[j].Verbs) == 0 {
					less[i].Rules = slices.Delete(less[i].Rules, j, j+1)
				}
				p.may(t, less)
				taken++
				verbs := []string{verb}
				if d.wholeRules {
					verbs = rule.Verbs
				}
				o := p.run(t, d)
				if !names(o, verbs, rule, role.Namespace) || !strings.Contains(words(o), "kubectl auth can-i") || !d.runsOn && o.Code == 0 {
					t.Errorf("without %s %s %q: exit code %d, the reason and the next step are not in\n%s%s", verbs, rule.Resources, role.Namespace, o.Code, o.Stdout, o.Stderr)
				}
				if d.wholeRules {
					break
				}
			}
		}
	}
	t.Logf("%d permissions taken away, one at a time", taken)
}

// words are all that a command said, as one line: it is folded on the screen.
func words(o harness.Outcome) string {
	return strings.Join(strings.Fields(o.Stdout+" "+o.Stderr), " ")
}

// missing returns the words by which a command says that it lacks a permission.
func missing(o harness.Outcome) string {
	for _, said := range []string{"may not", "does not allow", "is forbidden"} {
		if strings.Contains(words(o), said) {
			return said
		}
	}
	return ""
}

// names tells whether a command says which of these verbs it lacks, for which
// resource and where: in its own words or in the API server's.
func names(o harness.Outcome, verbs []string, rule rbacv1.PolicyRule, namespace string) bool {
	group, resource := rule.APIGroups[0], rule.Resources[0]
	own, api := "in the whole cluster", "at the cluster scope"
	if namespace != "" {
		own, api = "in namespace "+namespace, fmt.Sprintf("in the namespace %q", namespace)
	}
	if resource == "namespaces" {
		api = "" // the API server names the one that was asked for as the place, too
	}
	full := strings.TrimSuffix(resource+"."+group, ".")
	said := words(o)
	for _, verb := range verbs {
		if strings.Contains(said, fmt.Sprintf("cannot %s resource %q in API group %q %s", verb, resource, group, api)) {
			return true
		}
	}
	// Some of the verbs may be granted by another rule.
	lacks := regexp.MustCompile("(?:: |; )([a-z]+(?:, [a-z]+)*) " + regexp.QuoteMeta(full+" "+own) + ` \(to `)
	for _, m := range lacks.FindAllStringSubmatch(said, -1) {
		if !slices.ContainsFunc(strings.Split(m[1], ", "), func(v string) bool { return !slices.Contains(verbs, v) }) {
			return true
		}
	}
	return false
}

// asAdministrator compares what "check" found with what it finds for somebody
// who may everything.
func asAdministrator(t *testing.T, o harness.Outcome) {
	t.Helper()
	marks := func(text string) (found []string) {
		for line := range strings.Lines(text) {
			mark, description, _ := strings.Cut(strings.TrimSpace(line), " ")
			if slices.Contains([]string{"✓", "!", "×", "·"}, mark) && !strings.Contains(description, "you may run") {
				description, _, _ = strings.Cut(description, ":")
				found = append(found, mark+" "+description)
			}
		}
		return found[:len(found)-1] // the last counts them all
	}
	admin := sandbox.Run(t, "kubectl-triton", "check")
	if diff := cmp.Diff(marks(admin.Stdout), marks(o.Stdout)); diff != "" {
		t.Errorf("check finds something else (-administrator +check.yaml):\n%s", diff)
	}
}

// readRoles reads a file of docs/rbac.
func readRoles(t *testing.T, file string) (roles []rbacv1.ClusterRole) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "rbac", file+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(text), "---\n") {
		var r rbacv1.ClusterRole // a Role has the same fields
		if err := utilyaml.UnmarshalStrict([]byte(doc), &r); err != nil {
			t.Fatal(err)
		}
		roles = append(roles, r)
	}
	return roles
}

// person is a ServiceAccount that nobody else's roles are bound to.
type person struct {
	account, kubeconfig string
	client              kubernetes.Interface
	everybody           map[string]bool // what any ServiceAccount may
}

const accounts = "default" // namespace of the ServiceAccounts

// namespaces are those in which a file of docs/rbac has Roles.
func namespaces() []string { return []string{"triton", "monitoring", metav1.NamespaceSystem} }

func newPerson(t *testing.T, file string) *person {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{GenerateName: file + "-", Namespace: accounts}}
	account, err := sandbox.Client.CoreV1().ServiceAccounts(accounts).Create(t.Context(), account, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := &person{account: account.Name, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	t.Cleanup(func() {
		p.may(t, nil)
		if err := sandbox.Client.CoreV1().ServiceAccounts(accounts).Delete(context.Background(), p.account, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	token, err := sandbox.Client.CoreV1().ServiceAccounts(accounts).CreateToken(t.Context(), p.account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: sandbox.REST.Host, CertificateAuthority: sandbox.REST.CAFile, CertificateAuthorityData: sandbox.REST.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: token.Status.Token}},
		Contexts:       map[string]*clientcmdapi.Context{"c": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "c",
	}
	if err := clientcmd.WriteToFile(config, p.kubeconfig); err != nil {
		t.Fatal(err)
	}
	rest, err := clientcmd.BuildConfigFromFlags("", p.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	rest.QPS = -1
	if p.client, err = kubernetes.NewForConfig(rest); err != nil {
		t.Fatal(err)
	}
	p.everybody = p.rules(t, accounts)
	return p
}

// may gives the person exactly these roles, and waits until the API server
// knows.
func (p *person) may(t *testing.T, roles []rbacv1.ClusterRole) {
	t.Helper()
	ctx, rbac := context.Background(), sandbox.Client.RbacV1()
	own := metav1.ListOptions{LabelSelector: "person=" + p.account}
	remove := func(namespace string) {
		for _, err := range []error{
			rbac.ClusterRoleBindings().DeleteCollection(ctx, metav1.DeleteOptions{}, own),
			rbac.ClusterRoles().DeleteCollection(ctx, metav1.DeleteOptions{}, own),
			rbac.RoleBindings(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, own),
			rbac.Roles(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, own),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, namespace := range namespaces() {
		remove(namespace)
	}
	subject := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: p.account, Namespace: accounts}}
	for i, r := range roles {
		meta := metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", p.account, i), Namespace: r.Namespace, Labels: map[string]string{"person": p.account}}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name}
		var errs [2]error
		if r.Namespace != "" {
			_, errs[0] = rbac.Roles(r.Namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: r.Rules}, metav1.CreateOptions{})
			_, errs[1] = rbac.RoleBindings(r.Namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subject}, metav1.CreateOptions{})
		} else {
			ref.Kind = "ClusterRole"
			_, errs[0] = rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: r.Rules}, metav1.CreateOptions{})
			_, errs[1] = rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subject}, metav1.CreateOptions{})
		}
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	p.await(t, roles)
}

// await waits until the API server's authorizer knows the roles, and no others.
func (p *person) await(t *testing.T, roles []rbacv1.ClusterRole) {
	t.Helper()
	for _, namespace := range namespaces() {
		want := maps.Clone(p.everybody)
		for _, r := range roles {
			if r.Namespace == "" || r.Namespace == namespace {
				for _, rule := range r.Rules {
					if len(rule.Resources) == 0 {
						continue // about paths, not objects
					}
					add(want, rule.APIGroups, rule.Resources, rule.ResourceNames, rule.Verbs)
				}
			}
		}
		harness.Eventually(t, 5*time.Second, "the roles of "+p.account, func() bool { return maps.Equal(want, p.rules(t, namespace)) })
	}
}

// rules are what the API server lets the person do in a namespace.
func (p *person) rules(t *testing.T, namespace string) map[string]bool {
	t.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	got, err := p.client.AuthorizationV1().SelfSubjectRulesReviews().Create(context.Background(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	for _, rule := range got.Status.ResourceRules {
		add(has, rule.APIGroups, rule.Resources, rule.ResourceNames, rule.Verbs)
	}
	return has
}

func add(to map[string]bool, groups, resources, names, verbs []string) {
	for _, verb := range verbs {
		to[fmt.Sprint(groups, resources, len(names), names, verb)] = true
	}
}

// run does the duty to its end.
func (p *person) run(t *testing.T, d duty) harness.Outcome {
	t.Helper()
	args := slices.Concat(d.args, []string{"--kubeconfig", p.kubeconfig})
	if d.unlabelled {
		sandbox.Must(t, "kubectl", "label", "node", "gpu-node-1", "nvidia.com/gpu.present-")
	}
	if d.until == "" {
		return sandbox.Run(t, "kubectl-triton", args...)
	}
	r := sandbox.Start(t, "kubectl-triton", args...)
	if r.AwaitLine(t, 30*time.Second, d.until) {
		r.Signal(syscall.SIGINT)
	}
	return r.Wait(t, 30*time.Second)
}
