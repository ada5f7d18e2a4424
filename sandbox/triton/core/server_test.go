package core

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/modelconfig"
	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const vector = `
backend: identity
input: [{name: INPUT0, data_type: TYPE_FP32, dims: [-1]}]
output: [{name: OUTPUT0, data_type: TYPE_FP32, dims: [-1]}]
`

func serve(t *testing.T, options Options, files ...string) *Server {
	t.Helper()
	options.Models = map[string]*modelconfig.Model{}
	for i, file := range files {
		m, err := modelconfig.Parse(fmt.Sprintf("m%d", i), []byte(file))
		if err != nil {
			t.Fatal(err)
		}
		options.Models[m.Config.Name] = m
	}
	options.Metrics.Counters = true
	s := NewServer(options)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range s.Names() {
		if err := s.Load(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// send schedules a request for rows vectors of the given length.
func send(t *testing.T, s *Server, model string, rows, length int64) (answer func() Response) {
	t.Helper()
	m, err := s.Find(model, "")
	if err != nil {
		t.Fatal(err)
	}
	shape := []int64{length}
	if m.Config.MaxBatchSize > 0 {
		shape = []int64{rows, length}
	}
	data := make([]byte, 0, 4*tensor.Elements(shape))
	for i := range tensor.Elements(shape) {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i)))
	}
	done := make(chan Response, 1)
	r := &Request{Model: m, Arrived: time.Now(), Inputs: []tensor.Tensor{{Name: "INPUT0", Type: tensor.FP32, Shape: shape, Data: data}}}
	r.Respond = func(response Response) { done <- response }
	if err := s.Infer(r); err != nil {
		return func() Response { return Response{Err: err} }
	}
	return func() Response { return <-done }
}

func stats(t *testing.T, s *Server, model string) Stats {
	t.Helper()
	m, err := s.Find(model, "")
	if err != nil {
		t.Fatal(err)
	}
	return m.Stats()
}

func sizes(s Stats) (list []string) {
	for _, b := range s.Batches {
		list = append(list, fmt.Sprintf("%dx%d", b.ComputeInfer.Count, b.Size))
	}
	return list
}

// gate is a device on which kernels wait until the test lets them go on.
type gate struct {
	mu      sync.Mutex
	arrived chan struct{}
	open    chan struct{}
	running int
	most    int
}

func newGate() *gate {
	return &gate{arrived: make(chan struct{}, 1000), open: make(chan struct{})}
}

func (g *gate) device() []Device { return []Device{{UUID: "GPU-test", Meter: g}} }

func (g *gate) Begin() {
	g.mu.Lock()
	g.running++
	g.most = max(g.most, g.running)
	g.mu.Unlock()
	g.arrived <- struct{}{}
	<-g.open
}

func (g *gate) End() {
	g.mu.Lock()
	g.running--
	g.mu.Unlock()
}

func (g *gate) SetMemoryBytes(uint64) {}

func TestCountersOfABatch(t *testing.T) {
	s := serve(t, Options{}, vector+"max_batch_size: 8")
	if response := send(t, s, "m0", 8, 1)(); response.Err != nil {
		t.Fatal(response.Err)
	}
	got := stats(t, s, "m0")
	if got.Success.Count != 1 || got.InferenceCount != 8 || got.ExecutionCount != 1 || !slices.Equal(sizes(got), []string{"1x8"}) {
		t.Errorf("one request of 8: success %d, inferences %d, executions %d, batches %v", got.Success.Count, got.InferenceCount, got.ExecutionCount, sizes(got))
	}
}

// While one request runs, what comes is batched: sizes 1 and 8 make success +2,
// count +9, exec +1.
func TestRequestsAreBatchedBehindARunningOne(t *testing.T) {
	g := newGate()
	s := serve(t, Options{Devices: g.device()}, vector+`
max_batch_size: 16
dynamic_batching: {}
sim: {service_time: {base: 2ms}}
`)
	answers := []func() Response{send(t, s, "m0", 1, 1)}
	<-g.arrived
	answers = append(answers, send(t, s, "m0", 1, 1), send(t, s, "m0", 8, 1))
	close(g.open)
	for _, answer := range answers {
		if response := answer(); response.Err != nil {
			t.Fatal(response.Err)
		}
	}
	got := stats(t, s, "m0")
	if got.Success.Count != 3 || got.InferenceCount != 10 || got.ExecutionCount != 2 || !slices.Equal(sizes(got), []string{"1x1", "1x9"}) {
		t.Errorf("success %d, inferences %d, executions %d, batches %v", got.Success.Count, got.InferenceCount, got.ExecutionCount, sizes(got))
	}
	// Each request of a batch is charged all of its time, once per batch in the batch's own counter.
	batch := got.Batches[1].ComputeInfer
	if batch.Ns < uint64(2*time.Millisecond) || got.ComputeInfer.Ns != got.Batches[0].ComputeInfer.Ns+2*batch.Ns {
		t.Errorf("compute_infer is %d ns, the batches took %+v", got.ComputeInfer.Ns, got.Batches)
	}
	// What the instances of a device do is counted with its UUID, and only there.
	m, _ := s.Find("m0", "")
	reporters := m.Metrics().Reporters
	if len(reporters) != 2 || reporters[0].Requests != 0 || reporters[1].GPU != "GPU-test" || reporters[1].Requests != 3 || reporters[1].Inferences != 10 {
		t.Errorf("reporters %+v", reporters)
	}
}

func TestDifferentShapesDontShareABatch(t *testing.T) {
	g := newGate()
	s := serve(t, Options{Devices: g.device()}, vector+"max_batch_size: 16\ndynamic_batching: {}")
	answers := []func() Response{send(t, s, "m0", 1, 1)}
	<-g.arrived
	for _, length := range []int64{2, 2, 3, 3, 3} {
		answers = append(answers, send(t, s, "m0", 1, length))
	}
	close(g.open)
	for _, answer := range answers {
		if response := answer(); response.Err != nil {
			t.Fatal(response.Err)
		}
	}
	if got := sizes(stats(t, s, "m0")); !slices.Equal(got, []string{"1x1", "1x2", "1x3"}) {
		t.Errorf("batches %v", got)
	}
}

// n instances run n requests at once, and no more.
func TestInstancesRunAtOnce(t *testing.T) {
	g := newGate()
	s := serve(t, Options{Devices: g.device()}, vector+"max_batch_size: 0\ninstance_group: [{count: 3}]")
	var answers []func() Response
	for range 12 {
		answers = append(answers, send(t, s, "m0", 1, 1))
	}
	for range 3 {
		<-g.arrived
	}
	close(g.open)
	for _, answer := range answers {
		if response := answer(); response.Err != nil {
			t.Fatal(response.Err)
		}
	}
	if g.most != 3 {
		t.Errorf("%d requests ran at once on 3 instances", g.most)
	}
}

func TestQueueFullIsCountedNowhere(t *testing.T) {
	g := newGate()
	s := serve(t, Options{Devices: g.device()}, vector+`
max_batch_size: 1
dynamic_batching: {default_queue_policy: {max_queue_size: 1}}
`)
	first := send(t, s, "m0", 1, 1)
	<-g.arrived
	second := send(t, s, "m0", 1, 1)
	refused := send(t, s, "m0", 1, 1)()
	if refused.Err == nil || refused.Err.Code != Unavailable || refused.Err.Message != "[request id: <id_unknown>] Exceeds maximum queue size" {
		t.Errorf("got %v", refused.Err)
	}
	close(g.open)
	first()
	second()
	if got := stats(t, s, "m0"); got.Success.Count != 2 || got.Fail.Count != 0 {
		t.Errorf("success %d, fail %d", got.Success.Count, got.Fail.Count)
	}
	for _, f := range s.FailureCounts() {
		if f.Counts != [4]uint64{} {
			t.Errorf("failures %v", f)
		}
	}
}

func TestFailuresByRatio(t *testing.T) {
	s := serve(t, Options{}, vector+`
max_batch_size: 0
sim: {failures: {ratio: 0.25, code: UNAVAILABLE, message: overloaded, seed: 3}}
`)
	failed := uint64(0)
	const n = 400
	for range n {
		if response := send(t, s, "m0", 1, 1)(); response.Err != nil {
			failed++
			if response.Err.Code != Unavailable || response.Err.Message != "overloaded" {
				t.Fatalf("got %v", response.Err)
			}
		}
	}
	if failed < n/8 || failed > n/2 {
		t.Errorf("%d of %d failed, want about a quarter", failed, n)
	}
	got := stats(t, s, "m0")
	if got.Fail.Count != failed || got.Success.Count != n-failed || got.InferenceCount != n-failed || got.ExecutionCount != n {
		t.Errorf("fail %d, success %d, inferences %d, executions %d with %d failures", got.Fail.Count, got.Success.Count, got.InferenceCount, got.ExecutionCount, failed)
	}
	if counts := s.FailureCounts()[0].Counts; counts[reasonBackend] != failed {
		t.Errorf("failures by reason %v, want %d of the backend", counts, failed)
	}
}

func TestChangeAtRunTime(t *testing.T) {
	s := serve(t, Options{}, vector+"max_batch_size: 0")
	if response := send(t, s, "m0", 1, 1)(); response.Err != nil {
		t.Fatal(response.Err)
	}
	if _, err := s.SetSim("m0", []byte(`{"failures":{"ratio":1,"code":"NOT_FOUND"}}`)); err != nil {
		t.Fatal(err)
	}
	if response := send(t, s, "m0", 1, 1)(); response.Err == nil || response.Err.Code != NotFound {
		t.Errorf("got %v", response.Err)
	}
	for _, bad := range []string{`{"failures":{"ratio":2}}`, `{"nope":1}`, `{"failures":{"code":"WHAT"}}`, `{"behaviour":"add_sub"}`, `{"service_time":{"base":"x"}}`} {
		if _, err := s.SetSim("m0", []byte(bad)); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// Stalls hold up what runs in them; no execution ends inside one.
func TestStallHoldsUpExecutions(t *testing.T) {
	s := serve(t, Options{}, vector+`
max_batch_size: 0
sim: {service_time: {base: 5ms}, stalls: {every: 100ms, for: 60ms}}
`)
	m, _ := s.Find("m0", "")
	for range 12 {
		if response := send(t, s, "m0", 1, 1)(); response.Err != nil {
			t.Fatal(response.Err)
		}
	}
	if average := time.Duration(m.Stats().ComputeInfer.Ns / 12); average < 6*time.Millisecond {
		t.Errorf("12 executions of 5 ms took %v each: no stall shows", average)
	}
}

func TestCacheAnswers(t *testing.T) {
	s := serve(t, Options{CacheBytes: 1 << 20}, vector+`
max_batch_size: 8
dynamic_batching: {}
response_cache: {enable: true}
`)
	for range 3 {
		response := send(t, s, "m0", 1, 4)()
		if response.Err != nil || len(response.Outputs) != 1 || len(response.Outputs[0].Data) != 16 {
			t.Fatalf("%+v", response)
		}
	}
	send(t, s, "m0", 1, 5)()
	got := stats(t, s, "m0")
	if got.Success.Count != 4 || got.CacheHit.Count != 2 || got.CacheMiss.Count != 2 || got.InferenceCount != 2 || got.ExecutionCount != 2 {
		t.Errorf("success %d, hits %d, misses %d, inferences %d, executions %d", got.Success.Count, got.CacheHit.Count, got.CacheMiss.Count, got.InferenceCount, got.ExecutionCount)
	}
}

func TestCacheEvictsTheLeastRecentlyUsed(t *testing.T) {
	c := NewCache(3 * (64 + 100))
	out := []tensor.Tensor{{Data: make([]byte, 100)}}
	key := func(i byte) cacheKey { return cacheKey{i} }
	for i := range byte(3) {
		c.put(key(i), out)
	}
	c.get(key(0))
	c.put(key(3), out)
	for i, want := range []bool{true, false, true, true} {
		if _, got := c.get(key(byte(i))); got != want {
			t.Errorf("entry %d is there: %v, want %v", i, got, want)
		}
	}
	if u := c.Usage(); u != 1 {
		t.Errorf("usage %v", u)
	}
}

// Many clients at once: every request is answered once, and everything that is
// counted agrees.
func TestCountsAgreeUnderLoad(t *testing.T) {
	s := serve(t, Options{}, vector+`
max_batch_size: 8
dynamic_batching: {preferred_batch_size: [4, 8], max_queue_delay_microseconds: 300}
instance_group: [{count: 2}]
sim: {service_time: {distribution: exponential, base: 100us, seed: 1}, failures: {ratio: 0.05, seed: 2}}
`)
	const clients, each = 16, 60
	var wg sync.WaitGroup
	var failed, rows uint64
	var mu sync.Mutex
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				size := int64((c+i)%3 + 1)
				response := send(t, s, "m0", size, 2)()
				mu.Lock()
				if response.Err != nil {
					failed++
				} else {
					rows += uint64(size)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	got := stats(t, s, "m0")
	executions := uint64(0)
	for _, b := range got.Batches {
		executions += b.ComputeInfer.Count
		if b.Size > 8 {
			t.Errorf("a batch of %d", b.Size)
		}
	}
	if got.Success.Count != clients*each-failed || got.Fail.Count != failed || got.InferenceCount != rows || got.ExecutionCount != executions {
		t.Errorf("success %d, fail %d, inferences %d, executions %d; want %d, %d, %d, %d",
			got.Success.Count, got.Fail.Count, got.InferenceCount, got.ExecutionCount, clients*each-failed, failed, rows, executions)
	}
	if s.InFlight() != 0 {
		t.Errorf("%d requests in flight", s.InFlight())
	}
	m, _ := s.Find("m0", "")
	rep := m.Metrics().Reporters[0]
	if rep.Requests != got.Success.Count || rep.Inferences != rows || rep.Executions != executions || m.Metrics().Pending != 0 {
		t.Errorf("metrics %d %d %d, pending %d", rep.Requests, rep.Inferences, rep.Executions, m.Metrics().Pending)
	}
}

func TestReloadStartsAnew(t *testing.T) {
	s := serve(t, Options{}, vector+"max_batch_size: 0\nsim: {failures: {ratio: 1}}")
	send(t, s, "m0", 1, 1)()
	if err := s.unload("m0"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find("m0", ""); err == nil || err.Code != NotFound {
		t.Errorf("an unloaded model: %v", err)
	}
	if err := s.Load("m0", nil); err != nil {
		t.Fatal(err)
	}
	if got := stats(t, s, "m0"); got.Fail.Count != 0 || got.ExecutionCount != 0 {
		t.Errorf("a reloaded model has counted %+v", got)
	}
	if counts := s.FailureCounts()[0].Counts; counts[reasonBackend] != 1 {
		t.Errorf("its failures by reason are gone: %v", counts)
	}
}

func TestRequestLog(t *testing.T) {
	log := NewRequestLog(1) // one chunk
	for i := range chunkSize + 10 {
		log.Finish(&Request{ID: fmt.Sprint(i), Arrived: time.Now()}, GRPC, "m", OK)
	}
	records := make([]Record, 2*chunkSize)
	n := log.Since(0, records)
	if n != chunkSize || records[0].Seq != 11 || records[n-1].Seq != chunkSize+10 || records[0].ID != "10" {
		t.Errorf("%d records from %d (%s) to %d", n, records[0].Seq, records[0].ID, records[n-1].Seq)
	}
	if n := log.Since(chunkSize+9, records); n != 1 {
		t.Errorf("%d records after all but one", n)
	}
	log.Clear()
	if n := log.Since(0, records); n != 0 {
		t.Errorf("%d records after clearing", n)
	}
	log.Finish(&Request{Arrived: time.Now()}, HTTP, "m", Unavailable)
	if log.Since(0, records); records[0].Seq != chunkSize+11 || records[0].Status != Unavailable {
		t.Errorf("after clearing %+v", records[0])
	}
}
