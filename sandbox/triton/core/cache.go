package core

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/tensor"
)

// Cache is the server's response cache: least recently used entries go first.
type Cache struct {
	sizeBytes uint64

	mu        sync.Mutex
	usedBytes uint64
	entries   map[cacheKey]*list.Element
	recent    *list.List // of *cacheEntry, most recent first
}

type cacheKey [sha256.Size]byte

type cacheEntry struct {
	key     cacheKey
	outputs []tensor.Tensor
	bytes   uint64
}

// NewCache returns an empty cache of that size.
func NewCache(sizeBytes uint64) *Cache {
	return &Cache{sizeBytes: sizeBytes, entries: map[cacheKey]*list.Element{}, recent: list.New()}
}

// Usage is the share of the cache that is in use, 0–1.
func (c *Cache) Usage() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return float64(c.usedBytes) / float64(c.sizeBytes)
}

func (c *Cache) get(key cacheKey) ([]tensor.Tensor, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return nil, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(*cacheEntry).outputs, true
}

func (c *Cache) put(key cacheKey, outputs []tensor.Tensor) {
	entry := &cacheEntry{key: key, bytes: 64}
	for _, out := range outputs {
		entry.bytes += uint64(len(out.Data) + len(out.Name) + 8*len(out.Shape))
		out.Data = slices.Clone(out.Data) // an identity's output is its request's body
		entry.outputs = append(entry.outputs, out)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.entries[key]; known || entry.bytes > c.sizeBytes {
		return
	}
	for c.usedBytes+entry.bytes > c.sizeBytes {
		last := c.recent.Back()
		evicted := c.recent.Remove(last).(*cacheEntry)
		delete(c.entries, evicted.key)
		c.usedBytes -= evicted.bytes
	}
	c.entries[key] = c.recent.PushFront(entry)
	c.usedBytes += entry.bytes
}

// modelCache is one model's use of the cache.
type modelCache struct {
	model *Model
	cache *Cache
}

// answer responds to a request whose response is known.
func (c *modelCache) answer(r *Request) bool {
	begin := time.Now()
	r.cacheKey = keyOf(r)
	outputs, hit := c.cache.get(r.cacheKey)
	lookup := time.Since(begin)
	if !hit {
		r.cacheLookup = lookup
		return false
	}
	r.Timing.Queue = time.Since(r.queued)
	c.model.countCacheHit(r, lookup)
	r.respond(Response{Outputs: outputs, Final: true}) // the response's parameters are lost
	return true
}

func (c *modelCache) store(r *Request, outputs []tensor.Tensor) {
	begin := time.Now()
	c.cache.put(r.cacheKey, outputs)
	c.model.countCacheMiss(r.cacheLookup + time.Since(begin))
}

func keyOf(r *Request) (key cacheKey) {
	h := sha256.New()
	field := func(data []byte) {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(data)))
		_, _ = h.Write(size[:]) // never fails
		_, _ = h.Write(data)
	}
	field([]byte(r.Model.Name))
	field(binary.LittleEndian.AppendUint64(nil, uint64(r.Model.Version)))
	for _, name := range r.Requested {
		field([]byte(name))
	}
	for i := range r.Inputs {
		in := &r.Inputs[i]
		field([]byte(in.Name))
		field([]byte{byte(in.Type)})
		field(tensor.AppendShape(nil, in.Shape))
		field(in.Data)
	}
	h.Sum(key[:0])
	return key
}
