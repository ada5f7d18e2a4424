// Package node is the sandbox's kubelet: an agent that registers a Node, takes
// the pods that the scheduler binds to it, and serves port-forward and logs by
// the kubelet's own streaming and log libraries.
//
// Containers are not isolated. A container whose image stands for a known
// program runs as a child process; its container ports are loopback listeners
// that it inherits, and its volumes are directories to which its arguments and
// variables are rewritten. Any other image is reported running and ready, or
// completed if its pod is not to be restarted, while nothing runs.
package node
