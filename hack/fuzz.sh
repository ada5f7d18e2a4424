#!/usr/bin/env bash
# Runs every fuzz target of both modules, one after the other, FUZZTIME each
# (60s): a fuzzer that nobody lists here by hand can't be forgotten. PACKAGES
# limits it to those whose path contains the word. What a fuzzer finds is kept
# as testdata/fuzz/NAME/… beside its test; check it in with the correction.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-60s}
parallel=${FUZZPARALLEL:-$(nproc)}
declaration='^func Fuzz\w+\(f \*testing\.F\)'
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz PACKAGE TARGET. Inputs are made smaller for a second at most, or that
# would take most of a minute.
fuzz() {
  go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 1s -parallel "$parallel" "$1" 2>&1 | tee "$log"
}

# The go command's own fault: its time was over while an input ran.
cut_off() {
  grep -q '^ *context deadline exceeded$' "$log" && ! grep -q 'Failing input written' "$log"
}

failed=()
ran=0
for module in . sandbox; do
  pushd "$module" >/dev/null
  while read -r folder; do
    for target in $(grep -hoP "$declaration" "$folder"/*_test.go | grep -oP 'Fuzz\w+'); do
      printf '== %s %s\n' "$module/${folder#./}" "$target"
      if fuzz "$folder" "$target" || { cut_off && fuzz "$folder" "$target"; }; then
        ran=$((ran + 1))
      else
        failed+=("$module/${folder#./} $target")
      fi
    done
  done < <(go list -f '{{.Dir}}' ./... | sed "s|^$PWD|.|" | grep -F -- "${PACKAGES:-}" |
    while read -r folder; do grep -lP "$declaration" "$folder"/*_test.go >/dev/null 2>&1 && echo "$folder"; done)
  popd >/dev/null
done

if ((${#failed[@]})); then
  printf '%d fuzz targets are clean, %d failed:\n' "$ran" "${#failed[@]}" >&2
  printf '  %s\n' "${failed[@]}" >&2
  exit 1
fi
if ((ran == 0)); then
  echo "no fuzz target found" >&2
  exit 1
fi
printf '%d fuzz targets ran %s each, clean\n' "$ran" "$time"
