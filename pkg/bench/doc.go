// Package bench is the load engine: it drives Requesters in a closed loop (a
// number of requests in flight) or an open loop (a rate on an absolute
// schedule) and records what happened in constant memory.
//
// Times are monotonic. In an open loop a request is due at a time that does not
// depend on earlier answers, and its response time counts from there, so a
// stalled server is seen as its users would see it (no coordinated omission).
// A request that cannot start in time starts late and is recorded with its lag;
// one that never starts is counted as Unsent. Nothing is dropped silently.
package bench
