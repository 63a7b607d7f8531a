# What a newcomer types. Each target installs what it needs and is missing (Debian and Ubuntu), shows what it does, and
# says plainly what it could not do.

CONFIG ?= ark.toml
SECONDS_EACH ?= 60
FUZZ ?=

.PHONY: help run demo test lint fuzz bench faults

help:
	@echo 'make run     build the gateway and start it with the demo hotline ($(CONFIG))'
	@echo 'make demo    the same with nothing to set up: free ports, a temporary folder, a scripted caller'
	@echo 'make test    everything that .ci/run checks: format, lints, tests, fuzz smoke, plans, real phones'
	@echo 'make lint    format and lints only'
	@echo 'make fuzz    every fuzzer for SECONDS_EACH=$(SECONDS_EACH) seconds; FUZZ=name for one, ARK_SEED=n to replay'
	@echo 'make bench   the measurements, with units'
	@echo 'make faults  the whole fault plan against a RabbitMQ of its own: about ten minutes, prints a table'

run:
	@scripts/setup.sh run
	@scripts/workbench.sh
	@echo 'building (the first time takes some minutes) ...'
	cargo run --profile fast --package ark --bin ark -- serve --config $(CONFIG)

demo:
	@scripts/setup.sh run
	@scripts/workbench.sh
	@echo 'building (the first time takes some minutes) ...'
	cargo run --profile fast --package ark --bin ark -- demo

test:
	@scripts/setup.sh test
	@scripts/workbench.sh
	@scripts/test.sh

lint:
	@scripts/setup.sh lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fuzz:
	@scripts/setup.sh build
	cargo run --profile fast --package ark-tests --bin fuzz -- --seconds $(SECONDS_EACH) $(FUZZ)

bench:
	@scripts/setup.sh build
	@scripts/bench.sh

faults:
	@scripts/setup.sh test
	cargo test --package ark-bus --test rabbitmq
	cargo test --package ark-bus --test faults -- --test-threads 1 --show-output
