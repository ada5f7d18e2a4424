package grafana

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
)

// apiError is an error answer: its status and its body.
type apiError struct {
	status int
	body   map[string]any
}

func (e *apiError) write(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	respond(w, e.status, e.body)
}

// failure is Grafana's plain error body.
func failure(status int, message string) *apiError {
	return &apiError{status, map[string]any{"message": message, "traceID": ""}}
}

// publicError is the body of Grafana's typed errors.
func publicError(status int, messageID, message string) *apiError {
	return &apiError{status, map[string]any{"extra": nil, "message": message, "messageId": messageID, "statusCode": status, "traceID": ""}}
}

func respond(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"message":"body json marshal"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=UTF-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "deny")
	w.WriteHeader(status)
	_, _ = w.Write(data) // a client that went away is no fault of ours
}

func succeed(w http.ResponseWriter, message string) {
	respond(w, http.StatusOK, map[string]any{"message": message})
}

const maxBodyBytes = 8 << 20

// bind reads a request's JSON body. An empty one leaves v as it is.
func bind(w http.ResponseWriter, r *http.Request, v any) *apiError {
	bad := failure(http.StatusBadRequest, "bad request data")
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return bad
	}
	err = json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes)).Decode(v)
	if err != nil && !errors.Is(err, io.EOF) {
		return bad
	}
	return nil
}
