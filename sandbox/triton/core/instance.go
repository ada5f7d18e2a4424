package core

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/modelconfig"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/precise"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// instanceGroup is count instances on one device.
type instanceGroup struct {
	name   string
	count  int
	device *Device // nil: on the CPU
}

// instance runs one batch at a time.
type instance struct {
	name      string
	scheduler *scheduler
	model     *Model
	device    *Device
	reporter  *Reporter
	timer     *precise.Timer
	work      chan []*Request
	rng       *rand.Rand
	failing   *rand.Rand
	seeds     [2]uint64
	index     uint64
}

func newInstance(s *scheduler, group instanceGroup, index int) (*instance, error) {
	timer, err := precise.NewTimer()
	if err != nil {
		return nil, fmt.Errorf("start an instance of model %s: %w", s.model.Name, err)
	}
	return &instance{
		name:      fmt.Sprintf("%s_%d", group.name, index),
		scheduler: s,
		model:     s.model,
		device:    group.device,
		reporter:  s.model.reporterOf(group.device),
		timer:     timer,
		work:      make(chan []*Request, 1),
		index:     uint64(index),
	}, nil
}

func (i *instance) run() {
	for batch := range i.work {
		for len(batch) > 0 {
			i.execute(batch)
			batch = i.scheduler.dispatch(i)
		}
	}
}

// reseed gives the instance its own reproducible random numbers, and new ones
// when the behaviour is changed at run time.
func (i *instance) reseed(sim *modelconfig.Sim) {
	seeds := [2]uint64{sim.ServiceTime.Seed, sim.Failures.Seed}
	if i.rng == nil || i.seeds != seeds {
		i.seeds = seeds
		i.rng = rand.New(rand.NewPCG(seeds[0], i.index))
		i.failing = rand.New(rand.NewPCG(seeds[1], ^i.index))
	}
}

func (i *instance) execute(batch []*Request) {
	sim := i.model.sim.Load()
	i.reseed(sim)
	begin := time.Now()
	size := 0
	for _, r := range batch {
		size += r.BatchSize
		r.Timing.Queue = begin.Sub(r.queued)
	}
	if i.model.stream != nil {
		for _, r := range batch {
			i.model.stream(i, sim, r)
		}
		return
	}

	i.rest(sim.ComputeInput.D() - time.Since(begin))
	inputDone := time.Now()
	outcomes := i.compute(sim, batch, size, inputDone)
	inferDone := time.Now()
	i.rest(sim.ComputeOutput.D())
	end := time.Now()

	timing := Timing{
		ComputeInput:   inputDone.Sub(begin),
		ComputeInfer:   inferDone.Sub(inputDone),
		ComputeOutput:  end.Sub(inferDone),
		ExecutionBatch: size,
	}
	failed := make([]bool, len(batch))
	for k, r := range batch {
		queue := r.Timing.Queue
		r.Timing = timing
		r.Timing.Queue = queue
		failed[k] = outcomes[k].raised
		if i.model.cache != nil && outcomes[k].err == nil {
			i.model.cache.store(r, outcomes[k].outputs)
		}
	}
	if i.model.Config.Backend == "identity" && i.model.Config.MaxBatchSize == 0 {
		size = 0 // that backend adds up batch sizes, and without batching there is none
	}
	i.model.countExecution(i.reporter, batch, failed, size, timing.ComputeInput, timing.ComputeInfer, timing.ComputeOutput)
	for k, r := range batch {
		r.respond(outcomes[k].response(i.model))
	}
}

// compute runs the model's function on every request and lets the execution
// last as long as the service time says.
func (i *instance) compute(sim *modelconfig.Sim, batch []*Request, size int, begin time.Time) []outcome {
	i.device.begin()
	defer i.device.end()
	service := sim.ServiceTime.Sample(size, i.rng)
	outcomes := make([]outcome, len(batch))
	for k, r := range batch {
		if sim.Failures.Ratio > 0 && i.failing.Float64() < sim.Failures.Ratio {
			outcomes[k] = i.injected(sim)
			continue
		}
		outcomes[k] = i.model.compute(i, r)
		if outcomes[k].extra > service {
			service = outcomes[k].extra
		}
	}
	i.until(sim, begin, service)
	return outcomes
}

// until waits until work of the given length that began at begin is done,
// stalls included.
func (i *instance) until(sim *modelconfig.Sim, begin time.Time, work time.Duration) {
	start := begin.Sub(i.model.loaded)
	i.rest(sim.Stalls.End(start, work) - time.Since(i.model.loaded))
}

func (i *instance) rest(d time.Duration) {
	// Below this, arming a timer takes longer than the wait.
	if d < 5*time.Microsecond {
		return
	}
	if err := i.timer.Sleep(d); err != nil {
		time.Sleep(d) // the timer is closed: the server is stopping
	}
}

func (i *instance) injected(sim *modelconfig.Sim) outcome {
	code, err := ParseCode(sim.Failures.Code)
	if err != nil {
		code = Internal
	}
	message := sim.Failures.Message
	if message == "" {
		message = "Failed to process the request(s) for model '" + i.name + "', message: simulated failure"
	}
	return outcome{err: &Error{Code: code, Message: message}, raised: !sim.Failures.AsResponse}
}

// outcome is what a model makes of one request.
type outcome struct {
	outputs []tensor.Tensor
	err     *Error
	raised  bool          // the model raised the error instead of answering with it
	extra   time.Duration // the execution lasts at least this long
}

func (o outcome) response(m *Model) Response {
	if o.err != nil {
		return Response{Err: o.err, Final: true}
	}
	return Response{Outputs: o.outputs, Parameters: m.parameters, Final: true}
}
