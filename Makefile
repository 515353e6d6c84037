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

.PHONY: all setup build rules demo test test-unit lint fmt fuzz image-lint clean

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

# The binary and the modules first: the tests run them as a user would.
test: build
	$(CARGO) test --release --locked --workspace

lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

fmt:
	$(CARGO) fmt --all

clean:
	$(CARGO) clean
