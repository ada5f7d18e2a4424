package metrics

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// sampledSource is what a Sampler keeps of one source.
type sampledSource struct {
	Source

	mu         sync.Mutex
	gpus       map[sampledKey]*sampledGPU
	lastAnswer time.Time
	lastError  error // since lastAnswer
	silences   []silence
}

// sampledKey distinguishes the GPUs of one page.
type sampledKey struct {
	device device
	family Family
}

// sampledGPU is one GPU's history: stretches of time in order, each folded
// into tracks.
type sampledGPU struct {
	gpu     GPU
	pods    []NamespacedName // that share it
	history []tracks
	fold    int // samples per stretch
	filling int // samples in the last stretch
}

type silence struct {
	gap
	err error
}

const (
	// maxStretches bounds a GPU's history. Beyond it, neighbours merge: averages
	// and peaks stay exact, and only what lies across a window's edge is lost.
	maxStretches = 1024
	maxSilences  = 100
	maxGPUs      = 256 // of one page
)

func (s *sampledSource) read(ctx context.Context) ([]GPUReading, error) {
	page, err := s.Fetch(ctx)
	if err != nil {
		return nil, err
	}
	defer page.Close()
	// A body need not heed ctx: closing it ends a read that hangs.
	unhook := context.AfterFunc(ctx, func() { page.Close() })
	defer unhook()
	readings, err := ParseGPUs(page)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return readings, err
}

// take files one page's readings under the time that they were read.
func (s *sampledSource) take(readings []GPUReading, at int64) {
	for _, r := range readings {
		key := sampledKey{r.device(), r.Family}
		g := s.gpus[key]
		if g == nil {
			if len(s.gpus) >= maxGPUs {
				continue
			}
			g = &sampledGPU{fold: 1}
			s.gpus[key] = g
		}
		g.gpu, g.pods = r.GPU, r.pods // a GPU's pods may change
		if g.gpu.Node == "" {
			g.gpu.Node = s.Node
		}
		if r.Family == FamilyTriton && s.Pod != (NamespacedName{}) {
			g.gpu.Namespace, g.gpu.Pod = s.Pod.Namespace, s.Pod.Name
			g.pods = []NamespacedName{s.Pod}
		}
		var t tracks
		for m := range meaningCount {
			if v := r.values.get(m); v != nil {
				t[m] = sampleTrack(at, *v, inRange(m, *v))
			}
		}
		g.add(&t)
	}
}

func (g *sampledGPU) add(t *tracks) {
	if n := len(g.history); n > 0 && g.filling < g.fold {
		g.history[n-1].then(t)
		g.filling++
		return
	}
	if len(g.history) == maxStretches {
		for i := range maxStretches / 2 {
			merged := g.history[2*i]
			merged.then(&g.history[2*i+1])
			g.history[i] = merged
		}
		g.history = g.history[:maxStretches/2]
		g.fold *= 2
	}
	g.history = append(g.history, *t)
	g.filling = 1
}

// window folds the stretches that lie wholly in [from, to].
func (g *sampledGPU) window(from, to int64) tracks {
	var all tracks
	for i := range g.history {
		first, last, n := g.history[i].bounds()
		if n > 0 && first >= from && last <= to {
			all.then(&g.history[i])
		}
	}
	return all
}

// silence notes that the source did not answer for a while.
func (s *sampledSource) silence(g gap, err error) {
	if len(s.silences) < maxSilences {
		s.silences = append(s.silences, silence{g, err})
		return
	}
	// Too many to tell apart: the last one grows over the answers in between.
	s.silences[maxSilences-1].to = g.to
}

// gaps says when in the window the source did not answer.
func (s *sampledSource) gaps(from, to int64, interval time.Duration) []string {
	all := s.silences
	if open := (gap{s.lastAnswer.UnixNano(), to}); !s.lastAnswer.IsZero() && open.to-open.from > int64(float64(interval)*gapTolerance) {
		all = append(all[:len(all):len(all)], silence{open, s.lastError})
	}
	var sentences []string
	for _, quiet := range all {
		g, ok := quiet.clip(from, to)
		if !ok {
			continue
		}
		sentence := fmt.Sprintf("no answer from %s %s", s.Name, g.describe(from))
		if quiet.err != nil {
			sentence += ": " + firstLine(quiet.err.Error())
		}
		sentences = append(sentences, sentence)
	}
	return sentences
}

// sighting tells the selector what is known of a GPU.
func (s *sampledSource) sighting(key sampledKey, g *sampledGPU) sighting {
	found := sighting{gpu: g.gpu, family: key.family, pods: g.pods}
	for _, node := range []string{g.gpu.Node, s.Node} {
		if node != "" {
			found.nodes = append(found.nodes, node)
		}
	}
	return found
}
