package bench

// reporter calls the progress function on a goroutine of its own, so that a slow
// terminal does not hold up the supervisor.
type reporter struct {
	latest chan Progress
	done   chan struct{}
}

func newReporter(f func(Progress)) *reporter {
	if f == nil {
		return nil
	}
	r := &reporter{latest: make(chan Progress, 1), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for p := range r.latest {
			f(p)
		}
	}()
	return r
}

// report hands over p, instead of an older one that was not taken yet.
func (r *reporter) report(p Progress) {
	if r == nil {
		return
	}
	select {
	case <-r.latest:
	default:
	}
	r.latest <- p
}

// finish reports the last one and waits until it was taken.
func (r *reporter) finish(p Progress) {
	if r == nil {
		return
	}
	r.report(p)
	close(r.latest)
	<-r.done
}
