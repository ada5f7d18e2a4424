package triton

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// readCapture reads an answer's raw bytes and checks it for a spec.
func readCapture(t *testing.T, raw []byte, spec *RequestSpec) error {
	t.Helper()
	var r httpResponse
	reader := bufio.NewReader(bytes.NewReader(raw))
	if _, err := r.read(reader); err != nil {
		return err
	}
	if rest := reader.Buffered(); rest != 0 {
		t.Errorf("%d bytes left unread", rest)
	}
	if r.status != 200 {
		return &Error{Class: httpClass(r.status), Status: r.status, Message: errorMessage(r.status, r.body)}
	}
	return (&replyChecker{spec: spec}).check(r.body, r.headBytes)
}

// replySpec expects what a captured answer claims to be, so that the checks of
// sizes and structure decide.
func replySpec(t *testing.T, name string) *RequestSpec {
	t.Helper()
	spec := &RequestSpec{outputs: map[string]Datatype{}}
	head := captureBody(t, name)
	if i := bytes.LastIndexByte(head, '}'); i >= 0 && bytes.Contains(head, []byte(`"binary_data_size"`)) {
		head = head[:i+1]
	}
	s := &jsonScanner{text: head}
	parsed := replyHead{}
	err := s.object(func(member string) (err error) {
		switch member {
		case "model_name":
			spec.model, err = s.string()
		case "outputs":
			err = s.array(func() error {
				out, err := parseReplyOutput(s)
				spec.outputs[out.name] = out.datatype
				return err
			})
		default:
			_, err = s.skip()
		}
		return err
	})
	if err != nil {
		t.Fatal(err, parsed)
	}
	return spec
}

func TestEveryCapturedInferenceAnswerIsRead(t *testing.T) {
	names := append(captureNames(t, "infer_"), captureNames(t, "err_")...)
	names = append(names, captureNames(t, "queue_")...)
	names = append(names, captureNames(t, "pyerr_")...)
	names = append(names, captureNames(t, "cached_")...)
	names = append(names, "accept_enc_identity", "chunked_request_binary", "chunked_request_json")
	good := 0
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			raw := capture(t, name)
			if bytes.HasPrefix(raw, []byte("HTTP/1.1 200")) {
				good++
				if err := readCapture(t, raw, replySpec(t, name)); err != nil {
					t.Error(err)
				}
				return
			}
			var failed *Error
			if err := readCapture(t, raw, &RequestSpec{}); !errors.As(err, &failed) || !strings.HasPrefix(failed.Class, "http ") || failed.Class[5:] != string(raw[9:12]) {
				t.Fatalf("error %v for %q", err, raw[:20])
			}
			if failed.Message == "" || strings.ContainsAny(failed.Message, "\n{") || strings.Contains(failed.Message, "id_unknown") {
				t.Errorf("message %q", failed.Message)
			}
		})
	}
	if good < 30 {
		t.Errorf("only %d good answers among the captures", good)
	}
}

func TestOtherCapturedAnswersAreWrong(t *testing.T) {
	spec := &RequestSpec{model: "repeat_int32", outputs: map[string]Datatype{"OUT": Int32}}
	// Status 200 with an error in it.
	if err := readCapture(t, capture(t, "generate_multi_error"), spec); classOf(err) != ClassWrongAnswer || !strings.Contains(err.Error(), "status 200 with an error: ") {
		t.Errorf("error %v", err)
	}
}

func TestCompressedAnswersAreDecompressedOrRefused(t *testing.T) {
	spec := &RequestSpec{model: "identity_fp32", outputs: map[string]Datatype{"OUTPUT0": FP32}}
	raw := capture(t, "accept_enc_gzip")
	if err := readCapture(t, raw, spec); err != nil {
		t.Error(err)
	}
	damaged := bytes.Clone(raw)
	damaged[len(damaged)-5] ^= 1 // of the checksum
	var protocol *protocolError
	if err := readCapture(t, damaged, spec); !errors.As(err, &protocol) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %v", err)
	}
	plain := "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
	if err := readCapture(t, []byte(plain), spec); !errors.As(err, &protocol) || !strings.Contains(err.Error(), "gzip") {
		t.Errorf("plain: %v", err)
	}
	other := strings.Replace(plain, "gzip", "br", 1)
	if err := readCapture(t, []byte(other), spec); !errors.As(err, &protocol) || !strings.Contains(err.Error(), "not asked for") {
		t.Errorf("another coding: %v", err)
	}
}

func TestWrongAnswersAreRecognised(t *testing.T) {
	spec := &RequestSpec{model: "m", outputs: map[string]Datatype{"Y": FP32, "S": Bytes}}
	asked := &RequestSpec{model: "m", outputs: spec.outputs, asked: []string{"Y"}}
	jsonAnswer := func(outputs string) string { return `{"model_name":"m","outputs":[` + outputs + `]}` }
	tests := []struct {
		name, head, data string
		binary           bool
		spec             *RequestSpec
		says             string // empty for a good answer
	}{
		{"JSON", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[2],"data":[NaN,-Infinity]}`), "", false, spec, ""},
		{"nested JSON", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[2,1],"data":[[1],[2.5e-7]]}`), "", false, spec, ""},
		{"bytes that are not UTF-8", jsonAnswer("{\"name\":\"S\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"\xff\\\"\x00\"]}"), "", false, spec, ""},
		{"binary", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}`), "abcd", true, spec, ""},
		{"binary strings", jsonAnswer(`{"name":"S","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":9}}`), "\x01\x00\x00\x00x\x00\x00\x00\x00", true, spec, ""},
		{"empty tensor", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[0,3],"parameters":{"binary_data_size":0}}`), "", true, spec, ""},
		{"not JSON", "<html>", "", false, spec, "expected"},
		{"cut JSON", `{"model_name":"m","outputs":[`, "", false, spec, "ends at byte"},
		{"more than JSON", jsonAnswer("") + "x", "", false, spec, "the end"},
		{"other model", `{"model_name":"other","outputs":[]}`, "", false, spec, `"other", not "m"`},
		{"no model", `{}`, "", false, spec, `"", not "m"`},
		{"no outputs", jsonAnswer(""), "", false, spec, "no outputs"},
		{"unknown output", jsonAnswer(`{"name":"Z","datatype":"FP32","shape":[1],"data":[1]}`), "", false, spec, `"Z"`},
		{"output not asked for", jsonAnswer(`{"name":"S","datatype":"BYTES","shape":[1],"data":["a"]}`), "", false, asked, `"S"`},
		{"output asked for missing", jsonAnswer(``), "", false, asked, "output Y is missing"},
		{"output twice", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[1],"data":[1]},{"name":"Y","datatype":"FP32","shape":[1],"data":[1]}`), "", false, spec, "twice"},
		{"other datatype", jsonAnswer(`{"name":"Y","datatype":"FP64","shape":[1],"data":[1]}`), "", false, spec, "FP64, not FP32"},
		{"too few elements", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[2],"data":[1]}`), "", false, spec, "1 elements"},
		{"no data", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[2]}`), "", false, spec, "no data"},
		{"no shape", jsonAnswer(`{"name":"Y","datatype":"FP32","data":[1]}`), "", false, spec, "shape"},
		{"negative shape", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[-1],"data":[]}`), "", false, spec, "shape"},
		{"wrong size for the shape", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":4}}`), "abcd", true, spec, "[2] has 4 bytes"},
		{"data cut", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}`), "abc", true, spec, "only 3"},
		{"data too long", jsonAnswer(`{"name":"Y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}`), "abcde", true, spec, "1 bytes follow"},
		{"too few strings", jsonAnswer(`{"name":"S","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":4}}`), "\x00\x00\x00\x00", true, spec, "1 strings"},
		{"string cut", jsonAnswer(`{"name":"S","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}`), "\x02\x00\x00\x00a", true, spec, "breaks off"},
		{"error in a good status", `{"error":"out of memory"}`, "", false, spec, "out of memory"},
		{"too deep", strings.Repeat("[", 1000), "", false, spec, "expected"},
		{"too deep within", `{"x":` + strings.Repeat("[", 1000), "", false, spec, "nested deeper"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			headBytes := -1
			if tt.binary {
				headBytes = len(tt.head)
			}
			checker := &replyChecker{spec: tt.spec}
			// The second time goes by the known head.
			for range 2 {
				err := checker.check([]byte(tt.head+tt.data), headBytes)
				if tt.says == "" {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				if classOf(err) != ClassWrongAnswer || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("error %v does not say %q", err, tt.says)
				}
			}
		})
	}
	if err := (&replyChecker{spec: spec}).check([]byte("{}"), 3); classOf(err) != ClassWrongAnswer {
		t.Errorf("head longer than the body: %v", err)
	}
}

func TestHTTPAnswersAreReadByTheRules(t *testing.T) {
	tests := []struct {
		name, raw  string
		body       string
		status     int
		close      bool
		wantsError string
	}{
		{"length", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", "ab", 200, false, ""},
		{"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\nab", "ab", 200, false, ""},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: 1\r\n\r\n", "abc", 200, false, ""},
		{"until the end", "HTTP/1.1 200 OK\r\n\r\nabc", "abc", 200, true, ""},
		{"HTTP/1.0", "HTTP/1.0 503 X\r\nContent-Length: 1\r\n\r\na", "a", 503, true, ""},
		{"closing", "HTTP/1.1 400 Bad\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", "", 400, true, ""},
		{"closing among others", "HTTP/1.1 400 Bad\r\nConnection: x, close\r\nContent-Length: 0\r\n\r\n", "", 400, true, ""},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "", 0, false, "both 1 and 2"},
		{"one length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", "ab", 200, false, ""},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "a", 200, false, ""},
		{"interims that are equal", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 3) + "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "a", 200, false, ""},
		{"no content", "HTTP/1.1 204 No\r\n\r\n", "", 204, false, ""},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", 200, false, ""},
		{"nothing", "", "", 0, false, "EOF"},
		{"cut head", "HTTP/1.1 200 OK\r\nContent-Le", "", 0, false, "unexpected EOF"},
		{"cut body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "", 0, false, "unexpected EOF"},
		{"cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "", 0, false, "unexpected EOF"},
		{"cut trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "", 0, false, "unexpected EOF"},
		{"not HTTP", "SSH-2.0-OpenSSH_9.6\r\n", "", 0, false, "not an HTTP answer"},
		{"not a status", "HTTP/1.1 abc\r\n\r\n", "", 0, false, "not an HTTP status"},
		{"not a header", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "", 0, false, "not a header line"},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "", 0, false, "Content-Length"},
		{"huge length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "", 0, false, "99999999999 bytes"},
		{"announced, never sent", "HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\nab", "", 0, false, "unexpected EOF"},
		{"other coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "", 0, false, "Transfer-Encoding"},
		{"endless headers", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 300), "", 0, false, "header lines"},
		{"endless line", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 100_000), "", 0, false, "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r httpResponse
			_, err := r.read(bufio.NewReaderSize(strings.NewReader(tt.raw), 16<<10))
			if tt.wantsError != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantsError) {
					t.Errorf("error %v", err)
				}
				if cap(r.body) > 4<<20 {
					t.Errorf("%d bytes of memory for an answer that never came", cap(r.body))
				}
				return
			}
			if err != nil || string(r.body) != tt.body || r.status != tt.status || r.close != tt.close {
				t.Errorf("status %d, body %q, close %t, error %v", r.status, r.body, r.close, err)
			}
		})
	}
}

// TestABadAnswerMakesNoneGood: what is remembered of a good answer must not
// outlive a bad one, nor refer to memory that a later answer is read into.
func TestABadAnswerMakesNoneGood(t *testing.T) {
	checker := &replyChecker{spec: &RequestSpec{model: "m", outputs: map[string]Datatype{"OUTPUT0": FP32}}}
	for i, answer := range []struct {
		body string
		good bool
	}{{goodAnswer, true}, {"<html>", false}, {"", false}, {"", false}, {goodAnswer, true}, {"", false}} {
		if err := checker.check([]byte(answer.body), -1); (err == nil) != answer.good {
			t.Errorf("answer %d, %q: %v", i, answer.body, err)
		}
	}
}

func TestKnownAnswersAreComparedByTheirOwnData(t *testing.T) {
	m := smallModel()
	file := writeData(t, `{"data":[{"INPUT0":[1,2,3,4]}],"validation_data":[{"OUTPUT0":[1]}]}`)
	spec := build(t, m, RequestOptions{Data: DataFile, File: file, Validate: true})
	requests := 0
	dial := dialTo(rawServer(t, func(conn net.Conn, br *bufio.Reader) {
		for readRequest(br) {
			requests++
			_, _ = io.WriteString(conn, withLength("200 OK", fmt.Sprintf("X: %0*d\r\n", 20*requests, 7), goodAnswer))
		}
	}))
	s, err := NewHTTPSender(dial, spec, HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for seq := range uint64(4) {
		if _, err := s.Send(t.Context(), seq); err != nil {
			t.Errorf("request %d: %v", seq, err)
		}
	}
}

// FuzzRecognisedHead holds answers whose head is recognised against the same
// answers parsed anew, whole and in pieces of one byte.
func FuzzRecognisedHead(f *testing.F) {
	for _, name := range []string{"infer_bin_in_bin_out", "infer_dtype_fp32_nan_json_out", "err_wrong_shape", "accept_enc_gzip"} {
		f.Add(capture(f, name), capture(f, "infer_bin_in_bin_out"))
	}
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"), []byte("HTTP/1.1 204 No\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"), []byte(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 2)))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), []byte("HTTP/1.1 200 OK\nContent-Length: 0\n\n"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		stream := slices.Concat(a, a, b, a)
		var kept httpResponse
		at := bufio.NewReaderSize(bytes.NewReader(stream), 16<<10)
		parsed := bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(stream)), 16<<10)
		for {
			var fresh httpResponse
			_, err := kept.read(at)
			_, wants := fresh.read(parsed)
			if (err == nil) != (wants == nil) || err != nil && err.Error() != wants.Error() {
				t.Fatalf("error %v, parsed anew %v", err, wants)
			}
			if err != nil {
				return
			}
			if kept.httpHead != fresh.httpHead || !bytes.Equal(kept.body, fresh.body) {
				t.Fatalf("%+v %q, parsed anew %+v %q", kept.httpHead, kept.body, fresh.httpHead, fresh.body)
			}
		}
	})
}

func FuzzReply(f *testing.F) {
	for _, name := range []string{"infer_bin_in_bin_out", "infer_dtype_fp32_nan_json_out", "infer_bytes_bin_in_bin_out", "infer_bytes_nonutf8_json_out", "err_wrong_shape"} {
		f.Add(capture(f, name))
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"))
	spec := &RequestSpec{model: "identity_fp32", outputs: map[string]Datatype{"OUTPUT0": FP32, "S": Bytes}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r httpResponse
		reader := bufio.NewReader(bytes.NewReader(raw))
		if _, err := r.read(reader); err != nil {
			return
		}
		if r.status < 200 || r.status > 999 {
			t.Errorf("status %d", r.status)
		}
		if r.status != 200 {
			if errorMessage(r.status, r.body) == "" {
				t.Error("no message")
			}
			return
		}
		checker := &replyChecker{spec: spec}
		first := checker.check(r.body, r.headBytes)
		if second := checker.check(r.body, r.headBytes); (first == nil) != (second == nil) {
			t.Errorf("the same answer is first %v, then %v", first, second)
		}
	})
}

// FuzzJSON holds the scanner against the standard library: what is JSON there
// is JSON here.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{`{"a":[1,-2.5e7,true,null,"x\u00e9\\\""],"b":{}}`, `[[],[[]]]`, `"\"`, `{"a":NaN}`, `{"a" 1}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &jsonScanner{text: text}
		_, err := s.skip()
		if err == nil {
			err = s.end()
		}
		if json.Valid(text) && err != nil && !strings.Contains(err.Error(), "nested deeper") {
			t.Errorf("%q is JSON, but: %v", text, err)
		}
		if s.at > len(text) {
			t.Errorf("read to byte %d of %d", s.at, len(text))
		}
	})
}
