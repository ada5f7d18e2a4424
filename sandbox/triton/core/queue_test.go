package core

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

func batching(maxBatch int32, b *inferencepb.ModelDynamicBatching) *inferencepb.ModelConfig {
	return &inferencepb.ModelConfig{
		MaxBatchSize:     maxBatch,
		SchedulingChoice: &inferencepb.ModelConfig_DynamicBatching{DynamicBatching: b},
	}
}

// waiting describes a request: its batch size, shape and age.
type waiting struct {
	size  int
	shape string
	age   time.Duration
}

func TestBatchFormation(t *testing.T) {
	const delay = 100 * time.Millisecond
	one := waiting{size: 1}
	aged := func(age time.Duration) waiting { return waiting{size: 1, age: age} }
	for _, tc := range []struct {
		name      string
		maxBatch  int32
		preferred []int32
		delay     time.Duration
		requests  []waiting
		want      []int         // sizes in the batch
		wait      time.Duration // if there is no batch
	}{
		{name: "nothing waits", maxBatch: 8},
		{name: "one runs at once without delay", maxBatch: 8, preferred: []int32{4, 8}, requests: []waiting{one}, want: []int{1}},
		{name: "all at hand run together", maxBatch: 8, preferred: []int32{8}, requests: []waiting{one, one, one}, want: []int{1, 1, 1}},
		{name: "the largest preferred size at hand", maxBatch: 8, preferred: []int32{2, 4}, requests: []waiting{one, one, one, one, one}, want: []int{1, 1, 1, 1}},
		{name: "a preferred size runs before the rest", maxBatch: 8, preferred: []int32{2, 4}, requests: []waiting{one, one, one}, want: []int{1, 1}},
		{name: "waits for more", maxBatch: 8, preferred: []int32{4}, delay: delay, requests: []waiting{aged(30 * time.Millisecond), one}, wait: 70 * time.Millisecond},
		{name: "a preferred size doesn't wait", maxBatch: 8, preferred: []int32{2}, delay: delay, requests: []waiting{one, one}, want: []int{1, 1}},
		{name: "overdue", maxBatch: 8, preferred: []int32{4}, delay: delay, requests: []waiting{aged(delay), one}, want: []int{1, 1}},
		{name: "never above the maximum", maxBatch: 4, preferred: []int32{4}, requests: []waiting{{size: 3}, {size: 3}}, want: []int{3}},
		{name: "a full batch doesn't wait", maxBatch: 4, preferred: []int32{4}, delay: delay, requests: []waiting{{size: 3}, {size: 3}}, want: []int{3}},
		{name: "another shape ends the batch", maxBatch: 8, preferred: []int32{8}, delay: delay, requests: []waiting{{1, "a", 0}, {1, "a", 0}, {1, "b", 0}}, want: []int{1, 1}},
		{name: "without preferred sizes the maximum", maxBatch: 2, delay: delay, requests: []waiting{one, one, one}, want: []int{1, 1}},
		{name: "a batch of the largest size", maxBatch: 8, preferred: []int32{4, 8}, delay: delay, requests: []waiting{{size: 8}}, want: []int{8}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Now()
			q := newQueue(batching(tc.maxBatch, &inferencepb.ModelDynamicBatching{
				PreferredBatchSize: tc.preferred, MaxQueueDelayMicroseconds: uint64(tc.delay.Microseconds()),
			}))
			for _, w := range tc.requests {
				q.push(&Request{BatchSize: w.size, shapeKey: w.shape, queued: now.Add(-w.age)})
			}
			batch, wait := q.form(now)
			var got []int
			for _, r := range batch {
				got = append(got, r.BatchSize)
			}
			if !slices.Equal(got, tc.want) || wait != tc.wait {
				t.Errorf("batch %v after %v, want %v after %v", got, wait, tc.want, tc.wait)
			}
			if q.size != len(tc.requests)-len(batch) {
				t.Errorf("%d requests left of %d", q.size, len(tc.requests))
			}
		})
	}
}

func TestWithoutBatchingOneAtATime(t *testing.T) {
	q := newQueue(&inferencepb.ModelConfig{MaxBatchSize: 8})
	q.push(&Request{BatchSize: 1})
	q.push(&Request{BatchSize: 1})
	if batch, _ := q.form(time.Now()); len(batch) != 1 {
		t.Errorf("%d requests in one execution", len(batch))
	}
}

func TestQueueLimits(t *testing.T) {
	now := time.Now()
	policy := &inferencepb.ModelQueuePolicy{MaxQueueSize: 2, DefaultTimeoutMicroseconds: 1000, AllowTimeoutOverride: true}
	q := newQueue(batching(1, &inferencepb.ModelDynamicBatching{DefaultQueuePolicy: policy}))
	first := &Request{ID: "first", BatchSize: 1, queued: now}
	brief := &Request{ID: "brief", BatchSize: 1, queued: now, TimeoutMicros: 10}
	if !q.push(first) || !q.push(brief) {
		t.Fatal("refused below the limit")
	}
	if q.push(&Request{BatchSize: 1, queued: now}) {
		t.Error("accepted above the limit")
	}
	if got := q.expire(now.Add(10 * time.Microsecond)); len(got) != 1 || got[0] != brief {
		t.Errorf("after 10 µs %v expire, want only the one with its own limit", got)
	}
	if got := q.expire(now.Add(time.Millisecond)); len(got) != 1 || got[0] != first {
		t.Errorf("after 1 ms %v expire, want the first", got)
	}
	if q.size != 0 {
		t.Errorf("%d requests left", q.size)
	}
}

func TestTimeoutOverrideOnlyShortens(t *testing.T) {
	now := time.Now()
	policy := &inferencepb.ModelQueuePolicy{DefaultTimeoutMicroseconds: 1000, AllowTimeoutOverride: true}
	q := newQueue(batching(1, &inferencepb.ModelDynamicBatching{DefaultQueuePolicy: policy}))
	r := &Request{BatchSize: 1, queued: now, TimeoutMicros: 1_000_000}
	q.push(r)
	if want := now.Add(time.Millisecond); !r.deadline.Equal(want) {
		t.Errorf("the limit is %v, want %v", r.deadline.Sub(now), want.Sub(now))
	}
}

func TestDelayedRequestsRunLast(t *testing.T) {
	now := time.Now()
	policy := &inferencepb.ModelQueuePolicy{TimeoutAction: inferencepb.ModelQueuePolicy_DELAY, DefaultTimeoutMicroseconds: 1000}
	q := newQueue(batching(1, &inferencepb.ModelDynamicBatching{DefaultQueuePolicy: policy}))
	q.push(&Request{ID: "late", BatchSize: 1, queued: now.Add(-time.Second)})
	q.push(&Request{ID: "fresh", BatchSize: 1, queued: now})
	if rejected := q.expire(now); len(rejected) != 0 {
		t.Errorf("%d rejected", len(rejected))
	}
	order := ""
	for range 2 {
		batch, _ := q.form(now)
		order += batch[0].ID + " "
	}
	if order != "fresh late " {
		t.Errorf("order %s", order)
	}
}

func TestPriorities(t *testing.T) {
	q := newQueue(batching(1, &inferencepb.ModelDynamicBatching{PriorityLevels: 3, DefaultPriorityLevel: 2}))
	for i, p := range []uint64{3, 0, 1, 9, 2, 1} { // 0 and 9 are the default level
		q.push(&Request{ID: fmt.Sprint(i), Priority: p, BatchSize: 1, queued: time.Now()})
	}
	order := ""
	for q.size > 0 {
		batch, _ := q.form(time.Now())
		order += batch[0].ID
	}
	if want := "251340"; order != want {
		t.Errorf("order %s, want %s", order, want)
	}
}

func TestCancelledLeaveTheQueue(t *testing.T) {
	q := newQueue(batching(4, &inferencepb.ModelDynamicBatching{}))
	keep, drop := &Request{BatchSize: 1}, &Request{BatchSize: 1}
	drop.cancelled.Store(true)
	q.push(drop)
	q.push(keep)
	if got := q.dropCancelled(); len(got) != 1 || got[0] != drop {
		t.Errorf("dropped %v", got)
	}
	if batch, _ := q.form(time.Now()); len(batch) != 1 || batch[0] != keep {
		t.Errorf("left %v", batch)
	}
}
