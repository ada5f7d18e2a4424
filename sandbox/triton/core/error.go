package core

import "fmt"

// Code is an error's kind, as in Triton's C API.
type Code uint8

// The codes. OK is never the code of an error.
const (
	OK Code = iota
	Unknown
	Internal
	NotFound
	InvalidArg
	Unavailable
	Unsupported
	AlreadyExists
	Cancelled
)

func codeNames() [9]string {
	return [...]string{"OK", "UNKNOWN", "INTERNAL", "NOT_FOUND", "INVALID_ARG", "UNAVAILABLE", "UNSUPPORTED", "ALREADY_EXISTS", "CANCELLED"}
}

// String is the code's name, such as UNAVAILABLE.
func (c Code) String() string { return codeNames()[c] }

// ParseCode reads a name; INTERNAL is the default.
func ParseCode(name string) (Code, error) {
	if name == "" {
		return Internal, nil
	}
	names := codeNames()
	for i, n := range names {
		if n == name && i > 0 {
			return Code(i), nil
		}
	}
	return OK, fmt.Errorf("error code %q is none of %v", name, names[1:])
}

// Error is an answer to the client, in Triton's words.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
