#!/bin/sh
# Prints every measurement with its unit. Run it on an idle machine: the ratios are the point, not the absolute numbers.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --package ark --bin ark
target=$(cargo metadata --format-version 1 --no-deps --locked | sed -nE 's/.*"target_directory":"([^"]*)".*/\1/p')
printf '\n==== parsers, in the same run (tests/benches/peers)\n'
cargo run --release --quiet --target-dir target/peers --manifest-path tests/benches/peers/Cargo.toml
for bench in floor media sip; do
  printf '\n==== ark bench %s\n' "$bench"
  "$target/release/ark" bench "$bench"
done
# crate example what
bus() {
  printf '\n==== %s: %s\n' "$2" "$3"
  cargo run --release --quiet --package "$1" --example "$2"
}
bus ark-store append_bench 'appends, and the road from the inbox to the log, against a bare group-commit insert of the same rows'
bus ark-bus carry_bench 'wake-ups, records and the relay against a bare lapin loop'
bus ark-bus delivery_bench 'from accepted to delivered, for all pairs of store and bus'
bus ark-conversation conversation_bench 'what an open conversation costs'
