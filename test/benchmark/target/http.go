package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

const (
	serverMetadata = `{"name":"target","version":"0","extensions":["binary_tensor_data"]}`
	modelMetadata  = `{"name":"simple","versions":["1"],"platform":"bare","inputs":[` +
		`{"name":"INPUT0","datatype":"INT32","shape":[-1,16]},{"name":"INPUT1","datatype":"INT32","shape":[-1,16]}],"outputs":[` +
		`{"name":"OUTPUT0","datatype":"INT32","shape":[-1,16]},{"name":"OUTPUT1","datatype":"INT32","shape":[-1,16]}]}`
	modelConfig = `{"name":"simple","platform":"bare","max_batch_size":8,"input":[` +
		`{"name":"INPUT0","data_type":"TYPE_INT32","dims":[16]},{"name":"INPUT1","data_type":"TYPE_INT32","dims":[16]}],"output":[` +
		`{"name":"OUTPUT0","data_type":"TYPE_INT32","dims":[16]},{"name":"OUTPUT1","data_type":"TYPE_INT32","dims":[16]}]}`
	repositoryIndex = `[{"name":"simple","version":"1","state":"READY"}]`
	inferHead       = `{"model_name":"simple","model_version":"1","outputs":[` +
		`{"name":"OUTPUT0","datatype":"INT32","shape":[1,16],"parameters":{"binary_data_size":64}},` +
		`{"name":"OUTPUT1","datatype":"INT32","shape":[1,16],"parameters":{"binary_data_size":64}}]}`
	tensorBytes = 64
)

// answers by path. What is not here is answered 404.
func answers() map[string][]byte {
	json := func(body string) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	infer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n%s",
		len(inferHead), len(inferHead)+2*tensorBytes, inferHead)
	infer = append(infer, make([]byte, 2*tensorBytes)...)
	return map[string][]byte{
		"/v2":                      json(serverMetadata),
		"/v2/health/live":          json(""),
		"/v2/health/ready":         json(""),
		"/v2/models/simple":        json(modelMetadata),
		"/v2/models/simple/config": json(modelConfig),
		"/v2/models/simple/ready":  json(""),
		"/v2/models/simple/infer":  infer,
		"/v2/repository/index":     json(repositoryIndex),
	}
}

func serveHTTP(l net.Listener, s *stall) error {
	for known := answers(); ; {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			serveConnection(conn, known, s)
		}()
	}
}

// serveConnection answers requests that have a Content-Length or no body.
func serveConnection(conn net.Conn, known map[string][]byte, s *stall) {
	notFound := []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	endOfHead := []byte("\r\n\r\n")
	buf := make([]byte, 0, 64<<10)
	for {
		end := bytes.Index(buf, endOfHead)
		whole := end + len(endOfHead) + contentLength(buf[:max(0, end)])
		if end < 0 || len(buf) < whole {
			if len(buf) == cap(buf) {
				buf = append(buf, 0)[:len(buf)]
			}
			n, err := conn.Read(buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+n]
			if err != nil {
				return
			}
			continue
		}
		_, rest, _ := bytes.Cut(buf[:end], []byte{' '})
		path, _, _ := bytes.Cut(rest, []byte{' '})
		answer, ok := known[string(path)]
		if !ok {
			answer = notFound
		}
		s.wait()
		if _, err := conn.Write(answer); err != nil {
			return
		}
		buf = append(buf[:0], buf[whole:]...)
		s.takeTurns()
	}
}

// contentLength looks for the header in the spellings that the measured clients use.
func contentLength(head []byte) int {
	for _, name := range [][]byte{[]byte("\r\nContent-Length: "), []byte("\r\ncontent-length: ")} {
		if _, value, ok := bytes.Cut(head, name); ok {
			line, _, _ := bytes.Cut(value, []byte{'\r'})
			n, err := strconv.Atoi(string(line))
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
