package plugin

import (
	"flag"
	"io"

	"k8s.io/klog/v2"
)

// quietLibraries keeps the log lines of the Kubernetes libraries away from the
// user's terminal: what matters of them comes back as an error. It returns a
// function that flushes the logger.
func quietLibraries() func() {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	// Both flags exist in klog; a failure would only mean noise.
	_ = flags.Set("logtostderr", "false")
	_ = flags.Set("stderrthreshold", "FATAL")
	klog.SetOutput(io.Discard)
	return klog.Flush
}
