package plugin

import "github.com/kubectl-triton/kubectl-triton/pkg/triton"

// checkEndpoint fits the model to the endpoint, or refuses what Triton would. A
// decoupled model is loaded over gRPC unless the user chose otherwise.
func (t *loadTest) checkEndpoint() error {
	o := t.options
	if o.Endpoint != endpointInfer {
		s, err := triton.NewGenerateSender(nil, t.spec, triton.GenerateOptions{})
		if err != nil {
			return &ExitError{Code: ExitUsage, Err: err}
		}
		return s.Close()
	}
	if !t.spec.Decoupled() || o.Protocol == "grpc" {
		return nil
	}
	if o.protocolChosen {
		return usageErrorf("model %s is decoupled: it may send any number of answers to a request, which Triton's HTTP infer endpoint does not; use %s or --endpoint generate-stream", t.spec.Model(), o.grpcFlag())
	}
	o.Protocol = "grpc"
	t.notes.step("the model is decoupled: its requests go over gRPC streams")
	return t.route.requireGRPC()
}
