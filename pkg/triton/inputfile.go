package triton

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// InputDataError is input data that can't be sent to the model.
type InputDataError struct {
	File string
	// Where is the place in the file, such as "data[3]"; Input the tensor
	// concerned. Both may be empty.
	Where   string
	Input   string
	Problem string

	cause error
}

// Error names the file, the place, the input and what is wrong.
func (e *InputDataError) Error() string {
	text := "input data file " + e.File
	if e.Where != "" {
		text += ", " + e.Where
	}
	text += ": "
	if e.Input != "" {
		text += "input " + e.Input + " "
	}
	return text + e.Problem
}

// Unwrap is the error of the file system or the JSON reader.
func (e *InputDataError) Unwrap() error { return e.cause }

// inputFile is data in perf_analyzer's JSON format: an array "data" of steps,
// or of streams that are arrays of steps. A step holds for each input either a
// flat list, or an object of "content" and "shape", or one of "b64".
// https://github.com/triton-inference-server/perf_analyzer/blob/main/docs/input_data.md
type inputFile struct {
	path       string
	steps      []fileStep
	streams    []stream
	inputs     map[string]bool // those that any step has data for
	validation json.RawMessage // as {"data": …}; nil if there is none
}

// stream is a run of steps that belongs to one sequence.
type stream struct{ first, length int }

type fileStep struct {
	where   string
	tensors map[string]fileTensor
	// data and dims of the request's inputs, once checked against the model.
	data [][]byte
	dims [][]int64
}

// fileTensor is either a list or decoded binary data.
type fileTensor struct {
	list   json.RawMessage
	binary []byte
	shape  []int64
}

func readInputFile(path string) (*inputFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var inPath *os.PathError
		if errors.As(err, &inPath) {
			err = inPath.Err
		}
		return nil, &InputDataError{File: path, Problem: "can't be read: " + err.Error(), cause: err}
	}
	return parseInputFile(path, text)
}

func parseInputFile(path string, text []byte) (*inputFile, error) {
	fail := func(where, input, format string, args ...any) error {
		return &InputDataError{File: path, Where: where, Input: input, Problem: fmt.Sprintf(format, args...)}
	}
	var top struct {
		Data       []json.RawMessage `json:"data"`
		Validation json.RawMessage   `json:"validation_data"`
	}
	if err := json.Unmarshal(text, &top); err != nil {
		problem := "is not the JSON object {\"data\": […]}: " + err.Error()
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			problem = fmt.Sprintf("is not valid JSON at byte %d (line %d): %v", syntax.Offset, 1+bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n")), err)
		}
		return nil, &InputDataError{File: path, Problem: problem, cause: err}
	}
	if len(top.Data) == 0 {
		return nil, fail("", "", "has no steps in \"data\"; it has to look like {\"data\": [{\"INPUT0\": [1, 2, 3]}]}")
	}
	f := &inputFile{path: path, inputs: map[string]bool{}}
	if len(top.Validation) > 0 {
		f.validation = append(append([]byte(`{"data":`), top.Validation...), '}')
	}
	for i, entry := range top.Data {
		where := fmt.Sprintf("data[%d]", i)
		var steps []json.RawMessage
		nested := entry[0] == '['
		if !nested {
			steps = append(steps, entry)
		} else if err := json.Unmarshal(entry, &steps); err != nil {
			return nil, fail(where, "", "is unreadable: %v", err)
		}
		if len(steps) == 0 {
			return nil, fail(where, "", "is a stream without steps")
		}
		first := len(f.steps)
		for j, raw := range steps {
			stepWhere := where
			if nested {
				stepWhere += fmt.Sprintf("[%d]", j)
			}
			step, err := parseStep(path, stepWhere, raw)
			if err != nil {
				return nil, err
			}
			f.steps = append(f.steps, step)
			for input := range step.tensors {
				f.inputs[input] = true
			}
		}
		switch {
		case nested:
			f.streams = append(f.streams, stream{first, len(steps)})
		case i == 0:
			f.streams = append(f.streams, stream{0, 1})
		default:
			// Steps that are not in a stream of their own form one together.
			f.streams[len(f.streams)-1].length++
		}
		if i > 0 && nested != (top.Data[0][0] == '[') {
			return nil, fail(where, "", "mixes streams and single steps; use either throughout")
		}
	}
	return f, nil
}

func parseStep(path, where string, raw json.RawMessage) (fileStep, error) {
	step := fileStep{where: where, tensors: map[string]fileTensor{}}
	fail := func(input, format string, args ...any) error {
		return &InputDataError{File: path, Where: where, Input: input, Problem: fmt.Sprintf(format, args...)}
	}
	var members map[string]json.RawMessage
	if raw[0] != '{' || json.Unmarshal(raw, &members) != nil {
		return step, fail("", "is %s, not an object of input names and data", kind(raw))
	}
	for name, value := range members {
		tensor := fileTensor{}
		content := value
		if value[0] == '{' {
			var object struct {
				Content json.RawMessage `json:"content"`
				B64     json.RawMessage `json:"b64"`
				Shape   *[]int64        `json:"shape"`
			}
			if err := json.Unmarshal(value, &object); err != nil {
				return step, fail(name, "is unreadable: %v", err)
			}
			if object.Shape != nil {
				tensor.shape = slices.Clone(*object.Shape)
				if tensor.shape == nil {
					tensor.shape = []int64{}
				}
			}
			switch {
			case object.Content != nil && object.B64 == nil:
				content = object.Content
			case object.B64 == nil:
				return step, fail(name, "is an object without \"content\" or \"b64\"")
			case object.Content != nil:
				return step, fail(name, "has both \"content\" and \"b64\"; use one")
			}
		}
		switch content[0] {
		case '[':
			tensor.list = content
		case '{':
			var object struct {
				B64 *string `json:"b64"`
			}
			if err := json.Unmarshal(content, &object); err != nil || object.B64 == nil {
				return step, fail(name, "has an object as content that is not {\"b64\": \"…\"}")
			}
			decoded, err := base64.StdEncoding.DecodeString(*object.B64)
			if err != nil {
				return step, fail(name, "has b64 data that is not base64: %v", err)
			}
			tensor.binary = decoded
		default:
			return step, fail(name, "is %s, not a list of elements", kind(content))
		}
		step.tensors[name] = tensor
	}
	return step, nil
}

// kind names a JSON value's type.
func kind(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

func (f *inputFile) unknownInput(known map[string]bool) (name, where string) {
	for _, step := range f.steps {
		for candidate := range step.tensors {
			if !known[candidate] && (name == "" || candidate < name) {
				name = candidate
			}
		}
		if name != "" {
			return name, step.where
		}
	}
	return "", ""
}

// listElements calls element for each leaf of a list that may be nested.
// Numbers come as json.Number.
func listElements(list json.RawMessage, element func(value any) error) error {
	dec := json.NewDecoder(bytes.NewReader(list))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if delim, ok := token.(json.Delim); ok {
			if delim == '{' {
				return errors.New("holds an object where an element is expected")
			}
			continue
		}
		if err := element(token); err != nil {
			return err
		}
	}
}
