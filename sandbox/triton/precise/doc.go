// Package precise waits for short times more exactly than the runtime's own
// timers, whose granularity is that of epoll_wait: one millisecond. A simulated
// service time of 6 ms that really lasts 7 would be wrong by a sixth.
package precise
