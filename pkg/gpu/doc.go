// Package gpu finds the GPU nodes of a cluster and what is known about them:
// the evidence for their GPUs, what they offer and who holds it, the taints and
// labels that decide where an exporter can run, the exporters that run already,
// and what is wrong, with the command that mends or shows it.
//
// Survey reads the cluster once, each kind in pages and no kind twice. All else
// works on what it found and makes no request.
//
// Label and resource names are those of NVIDIA's device plugin, GPU Feature
// Discovery, GPU Operator and DRA driver, of Node Feature Discovery, and of GKE,
// AKS, EKS and Karpenter.
package gpu
