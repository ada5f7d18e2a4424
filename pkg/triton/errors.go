package triton

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// Classes of failed requests. An answer with an error status has the class
// "http 503" or "grpc UNAVAILABLE" instead.
const (
	ClassConnect        = "connect"
	ClassConnectionLost = "connection lost"
	ClassTimeout        = "timeout"
	ClassCanceled       = "canceled"
	ClassWrongAnswer    = "wrong answer"
	// ClassNotTriton is only given by the control-plane calls of Client.
	ClassNotTriton = "not triton"
)

// Error is a failed call or inference request.
type Error struct {
	// Class groups errors for counting, see the Class constants.
	Class string
	// Status is the HTTP status of the answer, 0 without one.
	Status int
	// Message is the server's own message, or what was wrong with its answer.
	Message string
	// Op says what was being done, empty for inference requests.
	Op string

	cause error
}

// Error says what could not be done and why.
func (e *Error) Error() string {
	var why string
	switch {
	case e.Status != 0 && e.Class == httpClass(e.Status):
		why = fmt.Sprintf("Triton answered %d: %s", e.Status, e.Message)
	case strings.HasPrefix(e.Class, "grpc "):
		why = fmt.Sprintf("Triton answered %s: %s", strings.TrimPrefix(e.Class, "grpc "), e.Message)
	case e.cause != nil && e.Message == "":
		why = e.Class + ": " + e.cause.Error()
	default:
		why = e.Class + ": " + e.Message
	}
	if e.Op == "" {
		return why
	}
	return "could not " + e.Op + ": " + why
}

// Unwrap is the cause, such as the network's error.
func (e *Error) Unwrap() error { return e.cause }

// ErrorClass groups errors for counting.
func (e *Error) ErrorClass() string { return e.Class }

func httpClass(status int) string { return "http " + strconv.Itoa(status) }

func wrongAnswer(format string, args ...any) *Error {
	return &Error{Class: ClassWrongAnswer, Message: fmt.Sprintf(format, args...)}
}

// networkError gives a failure of dialling, writing or reading its class: the
// caller's cancellation and deadline come first, then what the connection
// itself says of its error, then fallback.
func networkError(ctx context.Context, err error, fallback string) *Error {
	var classed interface{ ErrorClass() string }
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{Class: ClassCanceled, cause: context.Cause(ctx)}
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return &Error{Class: ClassTimeout, Message: "no complete answer within the request's time limit", cause: err}
	case errors.As(err, &classed):
		return &Error{Class: classed.ErrorClass(), cause: err}
	default:
		return &Error{Class: fallback, cause: err}
	}
}

// maxMessageLength keeps a server's message readable in a report.
const maxMessageLength = 300

// shorten puts a message on one line of bounded length.
func shorten(message string) string {
	message = strings.Join(strings.Fields(strings.ToValidUTF8(message, "\uFFFD")), " ")
	message = strings.TrimPrefix(message, "[request id: <id_unknown>] ")
	if len(message) <= maxMessageLength {
		return message
	}
	cut := maxMessageLength
	for cut > 0 && message[cut]&0xC0 == 0x80 {
		cut--
	}
	return message[:cut] + "…"
}
