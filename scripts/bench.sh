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
