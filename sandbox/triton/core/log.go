package core

import (
	"strconv"
	"sync"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/rapidjson"
)

// DefaultLogSize is how many finished requests the request log keeps.
const DefaultLogSize = 1 << 20

// Protocol is what a request came by.
type Protocol uint8

// The protocols.
const (
	HTTP Protocol = iota
	GRPC
	GRPCStream
)

func (p Protocol) String() string {
	return [...]string{"http", "grpc", "grpc_stream"}[p]
}

// Record is what really happened to one request.
type Record struct {
	Seq           uint64
	ID            string
	Model         string
	Protocol      Protocol
	Status        Code
	Arrival       int64 // ns since the Unix epoch
	Queue         int64 // ns, like the following
	ComputeInput  int64
	ComputeInfer  int64
	ComputeOutput int64
	Total         int64 // from the arrival of its last byte to the sending of its response
	Batch         int32 // its own batch size
	ExecBatch     int32 // that of the execution; 0 if it didn't run
	Responses     int32 // with outputs; any number for a decoupled model
	FirstResponse int64 // ns from the arrival to the first of them
}

// AppendJSON appends the record as one line without its end.
func (r *Record) AppendJSON(dst []byte) []byte {
	number := func(name string, v int64) {
		dst = append(dst, `,"`...)
		dst = append(dst, name...)
		dst = append(dst, `":`...)
		dst = strconv.AppendInt(dst, v, 10)
	}
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, r.Seq, 10)
	dst = append(dst, `,"id":`...)
	dst = rapidjson.AppendString(dst, r.ID)
	dst = append(dst, `,"model":`...)
	dst = rapidjson.AppendString(dst, r.Model)
	dst = append(dst, `,"protocol":"`...)
	dst = append(dst, r.Protocol.String()...)
	dst = append(dst, '"')
	number("arrival_ns", r.Arrival)
	number("queue_ns", r.Queue)
	number("compute_input_ns", r.ComputeInput)
	number("compute_infer_ns", r.ComputeInfer)
	number("compute_output_ns", r.ComputeOutput)
	number("total_ns", r.Total)
	number("batch", int64(r.Batch))
	number("exec_batch", int64(r.ExecBatch))
	number("responses", int64(r.Responses))
	number("first_response_ns", r.FirstResponse)
	dst = append(dst, `,"status":"`...)
	dst = append(dst, r.Status.String()...)
	return append(dst, `"}`...)
}

// RequestLog keeps the last finished requests. Its memory grows in chunks up
// to its size.
type RequestLog struct {
	size uint64

	mu     sync.Mutex
	chunks []*[chunkSize]Record
	first  uint64 // the oldest sequence number kept
	next   uint64
}

const chunkSize = 1 << 12

// NewRequestLog keeps at least size records; DefaultLogSize if size is 0.
func NewRequestLog(size int) *RequestLog {
	if size <= 0 {
		size = DefaultLogSize
	}
	chunks := (uint64(size) + chunkSize - 1) / chunkSize
	return &RequestLog{size: chunks * chunkSize, chunks: make([]*[chunkSize]Record, chunks), first: 1, next: 1}
}

// Finish logs a request whose response is about to be sent. r may be incomplete
// if the request was refused; model is what the client asked for.
func (l *RequestLog) Finish(r *Request, protocol Protocol, model string, status Code) {
	if r.Model != nil && !r.Model.LoggedRequests() {
		return
	}
	t := &r.Timing
	total := time.Since(r.Arrived)
	l.mu.Lock()
	defer l.mu.Unlock()
	slot := l.slot(l.next)
	*slot = Record{
		Seq: l.next, ID: r.ID, Model: model, Protocol: protocol, Status: status,
		Arrival: r.Arrived.UnixNano(), Queue: int64(t.Queue),
		ComputeInput: int64(t.ComputeInput), ComputeInfer: int64(t.ComputeInfer), ComputeOutput: int64(t.ComputeOutput),
		Total: int64(total), Batch: int32(r.BatchSize), ExecBatch: int32(t.ExecutionBatch),
		Responses: int32(r.responses), FirstResponse: int64(r.firstResponse),
	}
	l.next++
	if l.next-l.first > l.size {
		l.first = l.next - l.size
	}
}

func (l *RequestLog) slot(seq uint64) *Record {
	index := seq % l.size
	chunk := &l.chunks[index/chunkSize]
	if *chunk == nil {
		*chunk = new([chunkSize]Record)
	}
	return &(*chunk)[index%chunkSize]
}

// Since copies up to len(into) records with a sequence number above since, and
// returns how many.
func (l *RequestLog) Since(since uint64, into []Record) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for seq := max(since+1, l.first); seq < l.next && n < len(into); seq++ {
		into[n] = *l.slot(seq)
		n++
	}
	return n
}

// Clear forgets all records; sequence numbers go on.
func (l *RequestLog) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first = l.next
	clear(l.chunks)
}
