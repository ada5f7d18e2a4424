// Package h2 makes unary gRPC calls over HTTP/2 at the price that a load
// generator can afford. It is a client only, of one method, with calls that are
// used again and again by one goroutine each: a request's headers are a block
// made beforehand, calls that start together share a write, answers that arrive
// together a read, and nothing is allocated for a call.
//
// No goroutine of the connection's own stands between a call and its answer on
// plain TCP: of the calls that wait, one reads for all (see conn.wait).
//
// The protocols are RFC 9113 (HTTP/2), RFC 7541 (HPACK) and
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
// google.golang.org/grpc is the reference that the tests compare with.
package h2
