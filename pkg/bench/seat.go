package bench

// seat is where the worker that leads next waits to be called. At most one sits,
// and it is called once.
type seat interface {
	sit()
	call()
	close() error
}

// channelSeat is one within the Go scheduler, which wakes a further thread to look
// for the called goroutine whenever a processor is idle.
type channelSeat chan struct{}

func newChannelSeat() seat { return make(channelSeat, 1) }

func (s channelSeat) sit()         { <-s }
func (s channelSeat) call()        { s <- struct{}{} }
func (s channelSeat) close() error { return nil }
