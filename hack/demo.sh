#!/usr/bin/env bash
# Builds everything, starts the sandbox, makes its Triton observable, loads a
# model through its API server and prints the summary. Ends the sandbox again,
# also on Ctrl-C.
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
say "building the sandbox: Kubernetes and Prometheus from their Go modules (five to ten minutes the first time)"
make --no-print-directory -s sandbox V=-v 2>&1 | while read -r line; do
  case $line in
    *" "* | make*) printf '%s\n' "$line" >&2 ;;
    *) compiled=$((${compiled:-0} + 1)); [ $((compiled % 200)) -ne 0 ] || say "$compiled packages compiled" ;;
  esac
done
say "packaging the charts"
make --no-print-directory -s charts >&2
say "starting the sandbox"
up=yes
bin/sandbox up --name "$instance" --stack=false
KUBECONFIG=$(bin/sandbox kubeconfig --name "$instance")
export KUBECONFIG
say "running: kubectl triton observe up --chart-dir bin/charts"
bin/kubectl-triton observe up --chart-dir bin/charts
say "running: kubectl triton bench bert --concurrency 16 --duration 15s"
bin/kubectl-triton bench bert --concurrency 16 --duration 15s
say "done"
