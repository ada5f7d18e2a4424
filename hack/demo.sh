#!/usr/bin/env bash
# Builds everything, starts the sandbox, loads a model through its API server
# and prints the summary. Ends the sandbox again, also on Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

began=$SECONDS
say() { printf '[%3ds] %s\n' "$((SECONDS - began))" "$*" >&2; }
instance="demo-$$"
up=no
finish() {
  if [ "$up" = yes ]; then
    say "stopping the sandbox"
    bin/sandbox down --name "$instance" >&2
  fi
}
trap finish EXIT
trap 'exit 130' INT TERM

say "building the plugin"
make --no-print-directory -s build
say "building the sandbox: Kubernetes from its Go modules (several minutes the first time)"
make --no-print-directory -s bin/sandbox
say "building Triton's, the GPUs' and Grafana's stand-ins"
make --no-print-directory -s workloads
say "building Prometheus"
make --no-print-directory -s bin/prometheus
say "starting the sandbox"
up=yes
bin/sandbox up --name "$instance"
KUBECONFIG=$(bin/sandbox kubeconfig --name "$instance")
export KUBECONFIG
say "running: kubectl triton bench resnet50 --concurrency 8 --duration 15s"
bin/kubectl-triton bench resnet50 --concurrency 8 --duration 15s
say "done"
