# SPDX-License-Identifier: Apache-2.0
# The front door. `make run` and `make test` install what is missing, build, and go.
BUILD ?= build
JOBS ?= $(shell nproc)
PYTEST = /usr/bin/python3 -m pytest

.PHONY: all build setup run test unit e2e test-asan test-tsan test-long lint fuzz bench bench-check clean help

all: build

help:
	@sed -n 's/^## //p' Makefile

## make build      the program at build/offloader
build: setup
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) >/dev/null
	@ninja -C $(BUILD) -j$(JOBS)

setup:
	@tools/setup

## make run        build and serve examples/customer-analytics
run: build
	@$(BUILD)/offloader serve examples/customer-analytics

## make test       build and run everything
test: build
	@tools/run-tests $(BUILD)

## make unit       the unit tests and short fuzz runs alone
unit: build
	@meson test -C $(BUILD) --print-errorlogs

## make e2e        the whole-program tests alone
e2e: build
	@OFFLOADER_BIN=$(abspath $(BUILD))/offloader $(PYTEST) -q tests/e2e

## make test-asan  the unit and whole-program tests under AddressSanitizer and UBSan
test-asan: setup
	@test -f build-asan/build.ninja || meson setup build-asan -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-asan -j$(JOBS)
	@tools/run-tests build-asan

## make test-tsan  the unit and whole-program tests under ThreadSanitizer; with STRESS=1 swaps, reloads and actions under load too
test-tsan: setup
	@test -f build-tsan/build.ninja || meson setup build-tsan -Db_sanitize=thread -Db_lundef=false >/dev/null
	@ninja -C build-tsan -j$(JOBS)
	@tools/run-tests build-tsan
	@test -z "$(STRESS)" || tools/run-stress build-tsan

## make test-long  what takes hours: tests/long; ROW=r07 is one row of its table
test-long: build
	@tools/setup tools/packages-long.txt
	@tools/run-long $(BUILD) $(ROW)

## make bench      ourselves and our peers, interleaved (ROUNDS=42; about 20 minutes; wants a quiet machine)
bench: build
	@tools/setup tools/packages-bench.txt
	@bench/setup-peers
	@/usr/bin/python3 bench/run.py

## make bench-check instructions per answer against bench/instructions.json; a rise over 3 % fails
bench-check: build
	@tools/setup tools/packages-bench.txt
	@/usr/bin/python3 bench/instructions.py

## make lint       formatting, layers, clang-tidy, cppcheck
lint: build
	@tools/setup tools/packages-lint.txt
	@tools/lint $(BUILD)

## make fuzz       libFuzzer on every target under ASan and UBSan, FUZZ_SECONDS each (default 5)
fuzz: setup
	@tools/setup tools/packages-lint.txt
	@tools/fuzz build-fuzz

clean:
	rm -rf build build-asan build-tsan build-fuzz
