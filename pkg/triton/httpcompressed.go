package triton

import (
	"bytes"
	"compress/gzip"
	"io"
)

// decompress undoes the gzip coding that a proxy may put on an answer although
// none was asked for.
func decompress(body []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, &protocolError{"its body is not the gzip that its Content-Encoding says: " + err.Error()}
	}
	text, err := io.ReadAll(io.LimitReader(r, maxInferenceAnswer+1))
	switch {
	case err != nil:
		return nil, &protocolError{"its gzip is damaged: " + err.Error()}
	case len(text) > maxInferenceAnswer:
		return nil, &protocolError{"an answer of more than 2 GiB"}
	}
	return text, nil
}
