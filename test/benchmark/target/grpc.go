package main

import (
	"context"

	"google.golang.org/grpc"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

// inference answers each request with the same message.
type inference struct {
	inferencepb.UnimplementedGRPCInferenceServiceServer
	stall  *stall
	answer *inferencepb.ModelInferResponse
}

func registerGRPC(server *grpc.Server, s *stall) {
	answer := &inferencepb.ModelInferResponse{ModelName: "simple", ModelVersion: "1"}
	for _, name := range []string{"OUTPUT0", "OUTPUT1"} {
		answer.Outputs = append(answer.Outputs, &inferencepb.ModelInferResponse_InferOutputTensor{Name: name, Datatype: "INT32", Shape: []int64{1, 16}})
		answer.RawOutputContents = append(answer.RawOutputContents, make([]byte, tensorBytes))
	}
	inferencepb.RegisterGRPCInferenceServiceServer(server, &inference{stall: s, answer: answer})
}

func (i *inference) ModelInfer(context.Context, *inferencepb.ModelInferRequest) (*inferencepb.ModelInferResponse, error) {
	i.stall.wait()
	return i.answer, nil
}
