package modelconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Sim is how a simulated model behaves. The zero value answers at once.
type Sim struct {
	// Behaviour is what the model computes. Without it, a model of the
	// identity backend is an identity, and any other makes up its outputs.
	Behaviour string `json:"behaviour,omitempty"`

	// ServiceTime is the time of one execution, or for a decoupled model the
	// time before each of its responses.
	ServiceTime   ServiceTime `json:"service_time,omitzero"`
	ComputeInput  Duration    `json:"compute_input,omitzero"`
	ComputeOutput Duration    `json:"compute_output,omitzero"`

	Failures Failures `json:"failures,omitzero"`
	Stalls   Stalls   `json:"stalls,omitzero"`

	// GPUMemory is what each instance takes of its device's memory, such as 1.5Gi.
	GPUMemory *resource.Quantity `json:"gpu_memory,omitempty"`

	LoadTime Duration `json:"load_time,omitzero"`
	// LoadError makes loading fail with this text.
	LoadError string  `json:"load_error,omitempty"`
	Versions  []int64 `json:"versions,omitempty"`
	// Labels are the class names of an output, for the classification extension.
	Labels map[string][]string `json:"labels,omitempty"`
	// LogRequests set to false keeps the model's requests out of the request log.
	LogRequests *bool `json:"log_requests,omitempty"`
}

// ServiceTime is the random duration (Base + PerItem × batch size) × X, where X
// has mean 1 and the given distribution:
// constant; uniform over 1 ± Spread; exponential; normal with standard
// deviation Spread, cut at 0; lognormal with Spread as the standard deviation
// of ln X.
type ServiceTime struct {
	Distribution string   `json:"distribution,omitempty"`
	Base         Duration `json:"base,omitzero"`
	PerItem      Duration `json:"per_item,omitzero"`
	Spread       float64  `json:"spread,omitempty"`
	Seed         uint64   `json:"seed,omitempty"`
}

// Failures makes a share of the requests fail.
type Failures struct {
	Ratio   float64 `json:"ratio,omitempty"`
	Code    string  `json:"code,omitempty"` // such as INTERNAL, UNAVAILABLE
	Message string  `json:"message,omitempty"`
	// AsResponse counts the failure as a success, as Triton does when a model
	// answers with an error instead of raising one.
	AsResponse bool   `json:"as_response,omitempty"`
	Seed       uint64 `json:"seed,omitempty"`
}

// Stalls stops a model's executions for For in every period of Every, counted
// from the load of the model; the first comes at the end of the first period.
type Stalls struct {
	Every Duration `json:"every,omitzero"`
	For   Duration `json:"for,omitzero"`
}

func behaviours() []string {
	return []string{"", "identity", "synthetic", "add_sub", "repeat", "square", "sequence_sum", "delay", "error", "words"}
}

// Duration is a time.Duration written as in 1.5ms.
type Duration time.Duration

// D is the value as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// MarshalJSON writes the duration with its unit.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads a duration with its unit.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("a duration is written as in \"1.5ms\", not as %s", data)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("a duration is written as in \"1.5ms\": %w", err)
	}
	if parsed < 0 {
		return fmt.Errorf("duration %s is negative", text)
	}
	*d = Duration(parsed)
	return nil
}

// ParseSim reads a sim section from JSON and refuses unknown fields.
func ParseSim(data []byte) (Sim, error) { return Sim{}.Merge(data) }

// Merge is s with the fields that data sets replaced.
func (s Sim) Merge(data []byte) (Sim, error) {
	if s.GPUMemory != nil { // decoding writes through pointers and maps that the original still has
		memory := s.GPUMemory.DeepCopy()
		s.GPUMemory = &memory
	}
	s.Labels = maps.Clone(s.Labels)
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return Sim{}, fmt.Errorf("the sim section can't be used: %w", err)
	}
	return s, s.check()
}

func (s *Sim) check() error {
	switch s.ServiceTime.Distribution {
	case "", "constant", "uniform", "exponential", "normal", "lognormal":
	default:
		return fmt.Errorf("sim.service_time.distribution is %q; known are constant, uniform, exponential, normal, lognormal", s.ServiceTime.Distribution)
	}
	if s.ServiceTime.Spread < 0 {
		return fmt.Errorf("sim.service_time.spread is %v; it can't be negative", s.ServiceTime.Spread)
	}
	if s.Failures.Ratio < 0 || s.Failures.Ratio > 1 {
		return fmt.Errorf("sim.failures.ratio is %v; it must be from 0 to 1", s.Failures.Ratio)
	}
	if s.Stalls.For > 0 && s.Stalls.For >= s.Stalls.Every {
		return errors.New("sim.stalls.for must be shorter than sim.stalls.every, or the model never runs")
	}
	for _, v := range s.Versions {
		if v < 1 {
			return fmt.Errorf("sim.versions names version %d; versions begin at 1", v)
		}
	}
	return nil
}

// Sample draws one service time.
func (s ServiceTime) Sample(batchSize int, rng *rand.Rand) time.Duration {
	mean := float64(s.Base) + float64(s.PerItem)*float64(batchSize)
	x := 1.0
	switch s.Distribution {
	case "uniform":
		x = 1 + s.Spread*(2*rng.Float64()-1)
	case "exponential":
		x = rng.ExpFloat64()
	case "normal":
		x = 1 + s.Spread*rng.NormFloat64()
	case "lognormal":
		x = math.Exp(s.Spread*rng.NormFloat64() - s.Spread*s.Spread/2)
	}
	return time.Duration(max(0, mean*x))
}

// End is when work of the given length that begins at start is done, both
// counted from the load of the model, if it rests during stalls.
func (s Stalls) End(start, work time.Duration) time.Duration {
	every, rest := s.Every.D(), s.For.D()
	if every <= 0 || rest <= 0 {
		return start + work
	}
	// Period k lasts from k×every; its stall is its last part, so that the
	// first one begins at every − for.
	now := start
	for {
		phase := now % every
		if phase >= every-rest {
			now += every - phase
			continue
		}
		runnable := every - rest - phase
		if work <= runnable {
			return now + work
		}
		work -= runnable
		now += runnable
	}
}
