//go:build e2e

package observe

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// refusingWebhook answers every admission review with no. It returns its URL
// and its certificate as a webhook's caBundle.
func refusingWebhook(t *testing.T, message string) (url, ca string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "not a review", http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{Message: message, Code: http.StatusForbidden}}
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review) // the API server may be gone
	}))
	t.Cleanup(server.Close)
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return server.URL, base64.StdEncoding.EncodeToString(block)
}

func finish(t *testing.T, cmd *exec.Cmd) harness.Outcome {
	t.Helper()
	return harness.Finish(t, cmd)
}

func chartsFault(t *testing.T, kind string) {
	t.Helper()
	if out, err := sandbox.Command(context.Background(), "sandbox", nil, "charts", "--name", sandbox.Name, "--fault", kind).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func withdrawBinding(t *testing.T, name string) {
	t.Helper()
	if err := sandbox.Client.RbacV1().ClusterRoleBindings().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}
