# make run     build scached and start it in the foreground
# make test    every test, against the real Postfix (fetched below target/ if need be)
# make check   formatting, lints, documentation
# make faults  what faults do to stock scache and to ours, measured
# make demo    a real Postfix with stock scache, then with ours, side by side
# make bench   processor time per cycle of requests: stock, ours, ours without watching

CARGO ?= cargo

.PHONY: build run test check demo bench faults

build:
	$(CARGO) build --locked --release --bins

run:
	$(CARGO) run --locked --release --bin scached

# The tests of whole programs look for them beside themselves, so all of it is built first.
test:
	$(CARGO) build --locked --workspace --all-features --all-targets
	$(CARGO) test --locked --workspace --all-features

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-features --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --all-features --no-deps

demo:
	$(CARGO) build --locked --release --workspace --bins
	$(CARGO) run --locked --release --bin demo

bench:
	$(CARGO) build --locked --release --workspace --bins
	$(CARGO) run --locked --release --bin bench

# SHORT=1 for small numbers, PARTS="stalled reload" for some of it; `faults --help` lists what else can be set.
faults:
	$(CARGO) build --locked --release --workspace --bins
	$(CARGO) run --locked --release --bin faults -- $(if $(SHORT),--short) $(PARTS)
