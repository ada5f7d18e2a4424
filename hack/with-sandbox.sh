#!/usr/bin/env bash
# Runs a command with KUBECONFIG of a sandbox that is started for it and ended
# after it: hack/with-sandbox.sh COMMAND …
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
name="with-$$"
trap '"$root/bin/sandbox" down --name "$name" >&2' EXIT
"$root/bin/sandbox" up --name "$name" >/dev/null
KUBECONFIG=$("$root/bin/sandbox" kubeconfig --name "$name")
export KUBECONFIG
"$@"
