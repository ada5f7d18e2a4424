//go:build !linux

package bench

func newSeat() seat { return newChannelSeat() }
