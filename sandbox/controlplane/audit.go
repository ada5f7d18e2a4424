package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
)

// auditPolicy records each request of a client before it is handled, so that
// whoever has its answer finds it in the log. The cluster's own components,
// nodes and pods are left out, and so is what no resource is asked by.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted, ResponseComplete, Panic]
rules:
  - level: None
    userGroups: ["system:nodes", "system:serviceaccounts"]
  - level: None
    users: ["system:sandbox:components", "sandbox-control-plane", "sandbox-daemon", "system:apiserver"]
  - level: Metadata
`

// auditArgs write the policy and are the API server's flags for a log at path;
// none without a path.
func (c *ControlPlane) auditArgs(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	policy := filepath.Join(c.dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, fmt.Errorf("cannot store the audit policy: %w", err)
	}
	return []string{
		"--audit-policy-file=" + policy,
		"--audit-log-path=" + path,
		"--audit-log-mode=blocking-strict", // a request that can't be recorded fails
		"--audit-log-maxsize=0",
	}, nil
}
