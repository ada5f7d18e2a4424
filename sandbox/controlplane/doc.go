// Package controlplane runs a Kubernetes control plane inside this process:
// etcd, kube-apiserver, kube-controller-manager and kube-scheduler, each the
// real component from its Go module. Only the API server listens on TCP, on a
// free loopback port; etcd is reached by a Unix socket in the state directory.
package controlplane
