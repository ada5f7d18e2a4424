//go:build e2e

package check

import (
	"strings"
	"testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
)

// ownImages are two Services with Triton's ports: behind "serving" is a Triton in
// an image of somebody's own, behind "silent" something that listens nowhere.
const ownImages = `
apiVersion: v1
kind: Namespace
metadata: {name: own}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: serving, namespace: own}
spec:
  selector: {matchLabels: {app: serving}}
  template:
    metadata: {labels: {app: serving}}
    spec:
      containers:
        - name: serving
          image: registry.example/inference/serving:7
          args: [tritonserver, --model-repository=/models]
          ports: [{name: http, containerPort: 8000}, {name: grpc, containerPort: 8001}, {name: metrics, containerPort: 8002}]
          readinessProbe: {httpGet: {path: /v2/health/ready, port: http}, periodSeconds: 1}
          volumeMounts: [{name: models, mountPath: /models}]
      volumes: [{name: models, emptyDir: {}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: silent, namespace: own}
spec:
  selector: {matchLabels: {app: silent}}
  template:
    metadata: {labels: {app: silent}}
    spec:
      containers: [{name: silent, image: registry.example/web/shop:1, ports: [{containerPort: 8000}, {containerPort: 8001}]}]
---
apiVersion: v1
kind: Service
metadata: {name: serving, namespace: own}
spec:
  selector: {app: serving}
  ports: [{name: http, port: 8000}, {name: grpc, port: 8001}, {name: metrics, port: 8002}]
---
apiVersion: v1
kind: Service
metadata: {name: silent, namespace: own}
spec:
  selector: {app: silent}
  ports: [{name: http, port: 8000}, {name: grpc, port: 8001}]
`

// TestFoundByAnswer: a Triton whose image does not tell is found by its ports and
// its answer of /v2; what has the ports and answers nothing is not taken for one.
func TestFoundByAnswer(t *testing.T) {
	file := t.TempDir() + "/own.yaml"
	write(t, file, ownImages)
	defer well(t)
	defer kubectl(t, "delete", "--ignore-not-found", "--wait", "--filename", file)
	kubectl(t, "apply", "--filename", file)
	for _, name := range []string{"serving", "silent"} {
		kubectl(t, "--namespace", "own", "rollout", "status", "deployment", name, "--timeout", "60s")
	}
	r := look(t, "--namespace", "own")
	if k := result(t, r, "triton-found"); k.State != check.StateOK || k.Detail != "own/serving" {
		t.Errorf("%+v", k)
	}
	golden(t, result(t, r, "triton-models-ready"))
	for _, args := range [][]string{{"models"}, {"check"}} {
		o := sandbox.Run(t, "kubectl-triton", append(args, "--namespace", "own")...)
		if args[0] == "models" && (o.Code != 0 || !strings.Contains(o.Stdout, "own/serving")) {
			t.Errorf("%v: exit code %d\n%s%s", args, o.Code, o.Stdout, o.Stderr)
		}
	}
	kubectl(t, "--namespace", "own", "delete", "service", "serving")
	k := becomesAt(t, sandbox, []string{"--namespace", "own"}, "triton-found", check.StateFailed)
	goldenAs(t, t.Name()+"-gone", k)
	obey(t, k)
	o := sandbox.Run(t, "kubectl-triton", "models", "--namespace", "own")
	for _, want := range []string{"no Triton was found", "own/silent (", "--service and --namespace"} {
		if o.Code != 1 || !strings.Contains(o.Stderr, want) {
			t.Errorf("exit code %d, %q is not in %s", o.Code, want, o.Stderr)
		}
	}
}
