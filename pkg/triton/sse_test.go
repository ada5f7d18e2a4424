package triton

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func readEvents(r io.Reader) (events []string, err error) {
	var e eventReader
	e.reset(r)
	for {
		data, err := e.next()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, string(data))
	}
}

func TestEventsAreSplit(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
		err        error
	}{
		{"empty", "", nil, nil},
		{"as Triton writes", "data: {\"a\":1}\n\ndata: {\"b\":2}\n\n", []string{`{"a":1}`, `{"b":2}`}, nil},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}, nil},
		{"CR", "data: a\r\rdata: b\r\r", []string{"a", "b"}, nil},
		{"mixed line ends", "data: a\r\n\ndata: b\n\r\n", []string{"a", "b"}, nil},
		{"no space", "data:a\n\n", []string{"a"}, nil},
		{"only one space goes", "data:  a\n\n", []string{" a"}, nil},
		{"several lines", "data: a\ndata: b\n\n", []string{"a\nb"}, nil},
		{"empty data", "data\n\ndata:\n\n", []string{"", ""}, nil},
		{"other fields", ": hello\nevent: token\nid: 7\nretry: 3\ndata: a\n\n", []string{"a"}, nil},
		{"an event without data", "event: ping\n\ndata: a\n\n", []string{"a"}, nil},
		{"many empty lines", "\n\n\ndata: a\n\n\n\n", []string{"a"}, nil},
		{"byte order mark", "\uFEFFdata: a\n\n", []string{"a"}, nil},
		{"longer than the buffer", "data: " + strings.Repeat("x", 40<<10) + "\n\n", []string{strings.Repeat("x", 40<<10)}, nil},
		{"broken off in a line", "data: a\n\ndata: b", []string{"a"}, errEventTruncated},
		{"broken off before the empty line", "data: a\n\ndata: b\n", []string{"a"}, errEventTruncated},
		{"broken off in a name", "data: a\n\nda", []string{"a"}, errEventTruncated},
		{"not events", `{"error":"x"}`, nil, errEventTruncated},
	} {
		for how, reader := range map[string]io.Reader{"whole": strings.NewReader(tt.text), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.text))} {
			got, err := readEvents(reader)
			if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(err, tt.err) {
				t.Errorf("%s, %s: error %v, %s", tt.name, how, err, diff)
			}
		}
	}
}

func TestEventsAreBounded(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("data: "), io.LimitReader(zeros{}, 2*maxEventBytes))
	if _, err := readEvents(endless); !errors.Is(err, errEventTooLong) {
		t.Errorf("a line without end: %v", err)
	}
	if _, err := readEvents(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken connection: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// FuzzEvents: what was written as events is read back, however it is cut, and
// anything else ends in events, an end or one of the two errors.
func FuzzEvents(f *testing.F) {
	f.Add("data: {\"a\":1}\n\n", "x")
	f.Add("data: a\r\rdata", "\r\n")
	f.Add("\uFEFF: \n\r\n", "")
	f.Fuzz(func(t *testing.T, text, payload string) {
		whole, wholeErr := readEvents(strings.NewReader(text))
		cut, cutErr := readEvents(iotest.HalfReader(strings.NewReader(text)))
		if diff := cmp.Diff(whole, cut); diff != "" || !errors.Is(cutErr, wholeErr) {
			t.Errorf("cut: %v, not %v, %s", cutErr, wholeErr, diff)
		}
		if wholeErr != nil && !errors.Is(wholeErr, errEventTruncated) {
			t.Errorf("error %v", wholeErr)
		}
		payload = strings.NewReplacer("\r", "", "\n", "").Replace(payload)
		got, err := readEvents(strings.NewReader("data: " + payload + "\n\ndata: " + payload + "\r\n\r\n"))
		if diff := cmp.Diff([]string{payload, payload}, got); diff != "" || err != nil {
			t.Errorf("%v, %s", err, diff)
		}
	})
}

// FuzzGenerated: an answer of any bytes is read or refused, and never counts
// tokens that it can't hold.
func FuzzGenerated(f *testing.F) {
	for _, name := range []string{"generate_one", "generate_multi_error", "generate_nondecoupled_model"} {
		f.Add(captureBody(f, name))
	}
	f.Add([]byte(`{"model_name":"m","text_output":"","num_output_tokens":3}`))
	spec := &RequestSpec{model: "m", outputs: map[string]Datatype{textOutput: Bytes}}
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := spec.parseGenerated(text)
		if err == nil && (g.tokens < 0 || g.tokens > 1<<30) {
			t.Errorf("%q holds %d tokens", text, g.tokens)
		}
	})
}
