// Package metrics reads what the GPUs and a Triton server did during one
// window of time: from Prometheus when there is one, else by sampling the
// exporters' own pages.
//
// Everything leaves this package in one unit per quantity, whatever the source
// calls it: ratios from 0 to 1, bytes, watts, degrees Celsius, joules. A figure
// that the source does not know, or knows from too few samples, is nil.
package metrics
