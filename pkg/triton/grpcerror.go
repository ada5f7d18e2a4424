package triton

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// grpcError gives a failed call its class. answered tells whether the server
// sent headers or trailers, which tells its own UNAVAILABLE (a full queue)
// from that of a lost connection.
func grpcError(ctx context.Context, err error, answered bool) *Error {
	st, ok := status.FromError(err)
	if !ok {
		return networkError(ctx, err, ClassConnectionLost)
	}
	_, hasDeadline := ctx.Deadline()
	code, message := st.Code(), shorten(st.Message())
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{Class: ClassCanceled, cause: context.Cause(ctx)}
	case ctx.Err() != nil, code == codes.DeadlineExceeded && hasDeadline:
		// The server learns of the deadline and may be the first to say so.
		return &Error{Class: ClassTimeout, Message: "no complete answer within the request's time limit", cause: err}
	case answered || code != codes.Unavailable:
		return &Error{Class: "grpc " + codeName(code), Message: message, cause: err}
	case strings.Contains(strings.ToLower(message), "error while dialing"), strings.Contains(message, "server preface"), strings.Contains(message, "handshake"):
		return &Error{Class: ClassConnect, Message: message, cause: err}
	default:
		return &Error{Class: ClassConnectionLost, Message: message, cause: err}
	}
}

// codeName is a status code as the gRPC specification spells it; the Go
// library's names are in camel case.
func codeName(code codes.Code) string {
	if code == codes.Canceled {
		return "CANCELLED"
	}
	var name strings.Builder
	for i, c := range code.String() {
		if i > 0 && c >= 'A' && c <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(c)
	}
	return strings.ToUpper(name.String())
}
