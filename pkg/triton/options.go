package triton

import "fmt"

// DataMode is where the tensors' contents come from.
type DataMode int

const (
	// DataRandom fills every request with fresh data that depends on the seed
	// and the request's number only: integers in [0, 100), floats in [0, 1),
	// booleans, and strings of letters, digits, - and _.
	DataRandom DataMode = iota
	// DataZero sends zeros, and strings of the digit 0.
	DataZero
	// DataFile takes the data from a JSON file in perf_analyzer's format.
	DataFile
)

// String names the mode.
func (m DataMode) String() string {
	switch m {
	case DataRandom:
		return "random"
	case DataZero:
		return "zero"
	case DataFile:
		return "file"
	default:
		return fmt.Sprintf("DataMode(%d)", int(m))
	}
}

// RequestOptions say what metadata and configuration leave open.
type RequestOptions struct {
	// Version of the model; empty lets the server choose.
	Version string
	// BatchSize is the batch dimension of each request; 0 means 1. A model
	// that doesn't batch accepts only that.
	BatchSize int
	// Shapes are inputs' shapes without the batch dimension. Naming an
	// optional input here sends it.
	Shapes map[string][]int64
	// Data is where the contents come from; File is the path for DataFile.
	Data DataMode
	File string
	// Generate builds the request for a generate endpoint, which sets a boolean
	// input named stream itself unless Shapes or the file give it.
	Generate bool
	// Validate compares answers with the file's validation_data.
	Validate bool
	// Seed of the random data.
	Seed uint64
	// StringLength is the number of bytes of each random or zero string.
	StringLength int
	// OutputNames limits the outputs to ask for; empty asks for all.
	OutputNames []string
	// Parameters of each request: bool, int, int64, float64 or string values.
	Parameters map[string]any
	// SequenceLength is the mean number of requests of one sequence, for models
	// with sequence batching; 0 means DefaultSequenceLength. Data from a file
	// has its own lengths.
	SequenceLength int
	// SequenceLengthVariation is how much shorter or longer a sequence may be,
	// as a share (0 to 1) of SequenceLength.
	SequenceLengthVariation float64
}

// RequestError is a combination of model and options that no request can be
// built from. Input is the tensor concerned, empty when it concerns none.
type RequestError struct {
	Model   string
	Input   string
	Problem string
	Hint    string
}

// Error names the model, the input, what is wrong and what to try.
func (e *RequestError) Error() string {
	text := "no request can be built for model " + e.Model + ": "
	if e.Input != "" {
		text += "input " + e.Input + " "
	}
	text += e.Problem
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}
