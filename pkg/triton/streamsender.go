package triton

import "context"

// StreamSender is a Sender whose requests may bring several responses.
type StreamSender interface {
	Sender
	// SendStream is Send that calls arrived for each response with content as
	// soon as it was read and checked, with the number of tokens that it holds,
	// 0 where tokens mean nothing. After an error some may have arrived.
	SendStream(ctx context.Context, seq uint64, arrived func(tokens int)) (Reply, error)
}
