package triton

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func languageModel() *strictModel {
	return &strictModel{cfg: ModelConfig{
		Name: "py_llm",
		Input: []InputConfig{
			{Name: "text_input", DataType: Bytes, Dims: []int64{1}},
			{Name: "max_tokens", DataType: Int32, Dims: []int64{1}, Optional: true},
			{Name: "stream", DataType: Bool, Dims: []int64{1}, Optional: true},
		},
		Output: []OutputConfig{{Name: "text_output", DataType: Bytes, Dims: []int64{1}}},
	}}
}

func generateSenderFor(t *testing.T, dial DialFunc, opts GenerateOptions, request RequestOptions) StreamSender {
	t.Helper()
	request.Generate = true
	s, err := NewGenerateSender(dial, build(t, languageModel(), request), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// replying serves each request on each connection with the same bytes, and
// closes the connection after it if the answer says so or is cut.
func replying(t *testing.T, answer string, closes bool) (DialFunc, *[]string) {
	t.Helper()
	var bodies []string
	return dialTo(rawServer(t, func(conn net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			bodies = append(bodies, req.URL.Path+" "+string(body))
			if _, err := io.WriteString(conn, answer); err != nil || closes {
				return
			}
		}
	})), &bodies
}

func chunkedEvents(chunks ...string) string {
	text := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range chunks {
		text += fmt.Sprintf("%x\r\n%s\r\n", len(c), c)
	}
	return text
}

const lastChunk = "0\r\n\r\n"

func word(text string) string {
	return `data: {"model_name":"py_llm","model_version":"1","text_output":"` + text + "\"}\n\n"
}

func TestGenerateReadsRealAnswers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("captures", func(t *testing.T) {
		for _, tt := range []struct {
			capture   string
			stream    bool
			class     string
			says      string
			responses int
		}{
			{"generate_one", false, "", "", 1},
			{"generate_multi_error", false, ClassStreamError, "exactly 1 response", 0},
			{"generate_missing_input", false, "http 400", "NoneType", 0},
			{"generate_stream", true, "", "", 3},
			{"generate_stream_params", true, "", "", 2},
			{"generate_stream_missing_input", true, "http 400", "Failed to process", 0},
			{"generate_stream_unknown_model", true, "http 404", "unknown model", 0},
		} {
			dial, _ := replying(t, string(capture(t, tt.capture)), false)
			s := generateSenderFor(t, dial, GenerateOptions{Stream: tt.stream, Timeout: 10 * time.Second}, RequestOptions{})
			for seq := range uint64(2) { // the connection goes on after the first
				arrived := 0
				reply, err := s.SendStream(t.Context(), seq, func(tokens int) { arrived += tokens })
				if classOf(err) != tt.class || err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "data:")) || reply.Responses != tt.responses || arrived != tt.responses {
					t.Errorf("%s: %+v, %d arrived, class %q, error %v", tt.capture, reply, arrived, classOf(err), err)
				}
			}
		}
	})
}

func TestGenerateFaultsAreClassed(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("faults", func(t *testing.T) {
		for _, tt := range []struct {
			name, answer, class, says string
			arrived                   int
		}{
			{"whole", chunkedEvents(word("a"), word("b")) + lastChunk, "", "", 2},
			{"two events in a chunk", chunkedEvents(word("a")+word("b")) + lastChunk, "", "", 2},
			{"an event in two chunks", chunkedEvents(word("a")[:9], word("a")[9:]) + lastChunk, "", "", 1},
			{"an empty last event", chunkedEvents(word("a"), word("")) + lastChunk, "", "", 1},
			{"no events", chunkedEvents() + lastChunk, "", "", 0},
			{"an error after tokens", chunkedEvents(word("a"), "data: {\"error\":\"out of memory\"}\n\n") + lastChunk, ClassStreamError, "out of memory", 1},
			{"cut in a chunk", chunkedEvents(word("a")) + "40\r\ndata: {", ClassConnectionLost, "", 1},
			{"cut between chunks", chunkedEvents(word("a")), ClassConnectionLost, "", 1},
			{"an event without end", chunkedEvents(word("a"), strings.TrimSuffix(word("b"), "\n")) + lastChunk, ClassWrongAnswer, "breaks off", 1},
			{"not JSON", chunkedEvents("data: hello\n\n") + lastChunk, ClassWrongAnswer, "JSON", 0},
			{"another model's", chunkedEvents("data: {\"model_name\":\"other\",\"text_output\":\"x\"}\n\n") + lastChunk, ClassWrongAnswer, "other", 0},
			{"no stream", withLength("200 OK", "", "<html>\n\n"), ClassWrongAnswer, "not a stream of events", 0},
			{"closed at once", "", ClassConnectionLost, "", 0},
			{"not HTTP", "\x00\x00\x12\x04hello\r\n\r\n", ClassConnectionLost, "", 0},
		} {
			t.Run(tt.name, func(t *testing.T) {
				dial, _ := replying(t, tt.answer, true)
				s := generateSenderFor(t, dial, GenerateOptions{Stream: true, Timeout: 10 * time.Second}, RequestOptions{})
				arrived := 0
				_, err := s.SendStream(t.Context(), 1, func(int) { arrived++ })
				if classOf(err) != tt.class || err != nil && !strings.Contains(err.Error(), tt.says) || arrived != tt.arrived {
					t.Errorf("%d arrived, class %q, error %v", arrived, classOf(err), err)
				}
			})
		}
	})
}

func TestGenerateEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("hanging", func(t *testing.T) {
		dial := dialTo(rawServer(t, func(conn net.Conn, br *bufio.Reader) {
			if req, err := http.ReadRequest(br); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(conn, chunkedEvents(word("a")))
				_, _ = br.ReadByte() // until the client goes
			}
		}))
		s := generateSenderFor(t, dial, GenerateOptions{Stream: true, Timeout: 50 * time.Millisecond}, RequestOptions{})
		if _, err := s.Send(t.Context(), 0); classOf(err) != ClassTimeout {
			t.Errorf("timeout: %v", err)
		}
		s = generateSenderFor(t, dial, GenerateOptions{Stream: true}, RequestOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := s.SendStream(ctx, 1, func(int) { cancel() }); classOf(err) != ClassCanceled {
			t.Errorf("canceled: %v", err)
		}
		refused := errors.New("refused")
		s = generateSenderFor(t, func(context.Context, string, string) (net.Conn, error) { return nil, refused }, GenerateOptions{}, RequestOptions{})
		if _, err := s.Send(t.Context(), 0); classOf(err) != ClassConnect || !errors.Is(err, refused) {
			t.Errorf("class %q, error %v", classOf(err), err)
		}
	})
}

func TestGenerateWritesInputsAsFlatJSON(t *testing.T) {
	file := writeData(t, `{"data":[{"text_input":["say \"hi\""],"max_tokens":[7]}]}`)
	own := writeData(t, `{"data":[{"text_input":["x"],"stream":[false]}]}`)
	for _, tt := range []struct {
		name    string
		opts    GenerateOptions
		request RequestOptions
		path    string
		want    map[string]any
	}{
		{"stream", GenerateOptions{Stream: true}, RequestOptions{Data: DataFile, File: file, Parameters: map[string]any{"x": 1, "y": "z"}}, "/v2/models/py_llm/generate_stream",
			map[string]any{"stream": true, "text_input": `say "hi"`, "max_tokens": 7.0, "parameters": map[string]any{"x": 1.0, "y": "z"}}},
		{"whole", GenerateOptions{}, RequestOptions{Data: DataZero, StringLength: 3, Version: "2"}, "/v2/models/py_llm/versions/2/generate", map[string]any{"stream": false, "text_input": "000"}},
		{"the file decides", GenerateOptions{Stream: true}, RequestOptions{Data: DataFile, File: own}, "/v2/models/py_llm/generate_stream", map[string]any{"stream": false, "text_input": "x"}},
	} {
		answer := chunkedEvents() + lastChunk
		if !tt.opts.Stream {
			answer = string(capture(t, "generate_one"))
		}
		dial, bodies := replying(t, answer, false)
		s := generateSenderFor(t, dial, tt.opts, tt.request)
		if _, err := s.Send(t.Context(), 0); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		path, body, _ := strings.Cut((*bodies)[0], " ")
		var got map[string]any
		if err := json.Unmarshal([]byte(body), &got); err != nil || path != tt.path {
			t.Errorf("%s: %s %q: %v", tt.name, path, body, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestGenerateRefusesWhatFlatJSONCannotSay(t *testing.T) {
	m := func(change func(*ModelConfig)) *strictModel {
		model := languageModel()
		change(&model.cfg)
		return model
	}
	for _, tt := range []struct {
		name, says string
		model      *strictModel
		opts       RequestOptions
	}{
		{"two dimensions", "one dimension", m(func(c *ModelConfig) { c.Input[0].Dims = []int64{2, 2} }), RequestOptions{}},
		{"halves", "FP16", m(func(c *ModelConfig) { c.Input[0].DataType = FP16 }), RequestOptions{}},
		{"a batch", "batch", m(func(c *ModelConfig) { c.MaxBatchSize = 4 }), RequestOptions{BatchSize: 2}},
		{"sequences", "sequences", m(func(c *ModelConfig) { c.SequenceBatching = sequenceConfig(t, false) }), RequestOptions{}},
	} {

		if _, err := NewGenerateSender(nil, build(t, tt.model, tt.opts), GenerateOptions{}); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestTokensAreWhatTheModelCounts(t *testing.T) {
	text := &RequestSpec{model: "m", outputs: map[string]Datatype{"text_output": Bytes, "finish_reason": Bytes, "num_output_tokens": Uint32}}
	other := &RequestSpec{model: "m", outputs: map[string]Datatype{"Y": Bytes}}
	for _, tt := range []struct {
		spec *RequestSpec
		text string
		want int
	}{
		{text, `{"text_output":"two words"}`, 1},
		{text, `{"text_output":""}`, 0},
		{text, `{"text_output":[]}`, 0},
		{text, `{"text_output":"","finish_reason":"stop"}`, 0},
		{text, `{"text_output":"abc","num_output_tokens":4}`, 4},
		{text, `{"text_output":"","num_output_tokens":2}`, 2},
		{text, `{"text_output":"abc","num_output_tokens":0}`, 0},
		{other, `{"Y":"x","param":"x"}`, 1},
		{other, `{"param":"x"}`, 0},
	} {
		if g, err := tt.spec.parseGenerated([]byte(tt.text)); err != nil || g.tokens != tt.want {
			t.Errorf("%s: %d tokens, want %d (%v)", tt.text, g.tokens, tt.want, err)
		}
	}
}
