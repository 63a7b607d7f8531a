#!/bin/bash
# Everything that has to hold, in one go; the last line is `N passed, N failed, N skipped`.
# With ARK_CI=1 a missing peer or tool is a failure instead of a skip.
set -u
cd "$(dirname "$0")/.." || exit 1
logs=target/test-logs
rm -rf "$logs" && mkdir -p "$logs"
passed=0 failed=0 skipped=0
failures=() skips=() flaky=()
began=$SECONDS

# shown: what a reader needs of cargo's output; all of it is in the log file.
shown() { grep --line-buffered -vE '^(test .* \.\.\. ok|running [0-9]+ tests?|test result: ok\. 0 passed.*|)$' || true; }

# run NAME COMMAND...: shows the output and keeps all of it in $logs/NAME.log.
run() {
  local name=$1
  shift
  printf '\n==== %s: %s\n' "$name" "$*"
  local since=$SECONDS
  "$@" 2>&1 | tee "$logs/$name.log" | shown
  local code=${PIPESTATUS[0]}
  printf '==== %s: %s after %d s\n' "$name" "$([ "$code" = 0 ] && echo done || echo FAILED)" $((SECONDS - since))
  return "$code"
}

# step NAME COMMAND...: counts as one.
step() {
  if run "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && failures+=("$1"); fi
}

# suite NAME COMMAND...: counts each test that cargo reports, and what the tests say that they skipped.
suite() {
  local code=0 log="$logs/$1.log"
  run "$@" || code=$?
  local ok bad out
  ok=$(sed -nE 's/^test result: .* ([0-9]+) passed; .*/\1/p' "$log" | paste -sd+ | bc_sum)
  bad=$(sed -nE 's/^test result: .* ([0-9]+) failed; .*/\1/p' "$log" | paste -sd+ | bc_sum)
  out=$(grep -cE 'SKIPPED [a-z_0-9]+: ' "$log")
  [ "$bad" = 0 ] || again "$@"
  passed=$((passed + ok - out)) failed=$((failed + bad)) skipped=$((skipped + out))
  while read -r line; do [ -n "$line" ] && skips+=("$line"); done < <(grep -oE 'SKIPPED [a-z_0-9]+: .*' "$log")
  [ "$bad" = 0 ] || while read -r line; do [ -n "$line" ] && failures+=("$1: $line"); done < <(
    sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$log" | sort -u
  )
  # It did not compile, or a test process died: no result line tells it.
  if [ "$code" != 0 ] && [ "$bad" = 0 ]; then failed=$((failed + 1)) && failures+=("$1 (see $log)"); fi
}
bc_sum() { local sum; read -r sum || true; echo $((${sum:-0})); }

# again NAME COMMAND...: runs the few tests that failed in a suite's log once more, one after the other. What passes then was upset by
# a busy machine: the summary shows it as flaky, to be mended, and it counts as passed. A property that failed fails again, since its
# seed is kept.
again() {
  local name=$1 names
  shift
  mapfile -t names < <(sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$logs/$name.log" | sort -u)
  [ "${#names[@]}" -gt 0 ] && [ "${#names[@]}" -le 5 ] && [ "$bad" = "${#names[@]}" ] || return 0
  run "$name-again" "$@" --lib --bins --tests -- --exact "${names[@]}" --test-threads 1 || return 0
  ok=$((ok + bad)) bad=0 code=0
  for one in "${names[@]}"; do flaky+=("$name: $one"); done
}

# skip NAME REASON
skip() {
  if [ "${ARK_CI:-}" = 1 ]; then
    failed=$((failed + 1)) && failures+=("$1: $2")
  else
    skipped=$((skipped + 1)) && skips+=("SKIPPED $1: $2")
  fi
}

if cargo fmt --version >/dev/null 2>&1; then step format cargo fmt --all --check; else skip format "no rustfmt"; fi
if cargo clippy --version >/dev/null 2>&1; then
  step lint cargo clippy --workspace --all-targets -- -D warnings
else
  skip lint "no clippy"
fi
step rsip-compat cargo check --package ark-sip --features rsip-compat
step without-whisper cargo check --package ark --no-default-features --features g729
# All live tests call this one, so that none builds it while another waits.
step gateway cargo build --package ark --bin ark
target=$(cargo metadata --format-version 1 --no-deps --locked | sed -nE 's/.*"target_directory":"([^"]*)".*/\1/p')
export ARK_BIN="$target/debug/ark"
suite tests cargo test --workspace --no-fail-fast

if [ -x "$ARK_BIN" ]; then
  for plan in dialplans/plans/*.toml; do
    [ -e "$plan" ] || continue
    step "check-$(basename "$plan" .toml)" "$ARK_BIN" dialplan check "$plan"
    step "plan-$(basename "$plan" .toml)" "$ARK_BIN" dialplan test "$plan"
  done
fi

# The agents' desk: types, units, and the desk in a browser against its mock gateway; the pictures stay in gateway/workbench/pictures.
browser() { for one in "${ARK_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do [ -n "$one" ] && command -v "$one" >/dev/null 2>&1 && return 0; done; return 1; }
if ! command -v npm >/dev/null 2>&1; then
  skip workbench "no npm"
elif [ ! -d gateway/workbench/node_modules ]; then
  skip workbench "its packages could not be fetched"
else
  step workbench-types npm run --silent --prefix gateway/workbench check
  step workbench-units npm run --silent --prefix gateway/workbench test:unit
  step workbench-build scripts/workbench.sh --must
  if browser; then step workbench-browser npm run --silent --prefix gateway/workbench test:browser; else skip workbench "no chromium"; fi
fi

printf '\n==== summary after %d s\n' $((SECONDS - began))
for line in "${skips[@]+"${skips[@]}"}"; do printf '%s\n' "$line"; done
for line in "${flaky[@]+"${flaky[@]}"}"; do printf 'FLAKY (failed, then passed alone) %s\n' "$line"; done
for line in "${failures[@]+"${failures[@]}"}"; do printf 'FAILED %s\n' "$line"; done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
