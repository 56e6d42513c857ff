# make run     build scached and start it in the foreground
# make test    every test, against the real Postfix (fetched below target/ if need be)
# make test-unit  the tests that need neither root nor Debian nor a network, beyond 127.0.0.1
# make test-matrix  the tests with a real Postfix on Debian 11, 12, 13 and unstable, in roots below target/, and a table; as
#              root; SUITES="bullseye trixie" for some of them
# make check   formatting, lints, documentation
# make sim     the random tests with random seeds: SEEDS=10000 STEPS=20000 of the simulation, MODEL_SEEDS=10000 (each
#              10,000 operations of the store), GARBAGE_SEEDS=100000; FIRST=… takes the seeds that it printed again
# make faults  what faults do to stock scache and to ours, measured
# make demo    a real Postfix with stock scache, then with ours, side by side
# make bench   the same work for stock and for ours; writes docs/benchmarks.md (some ten minutes)
#              BENCH=--without-stock-fill leaves out what takes stock minutes
# make build   what `make install` installs; pkg/install.mk has that, and packages
# make reproducible  whether two builds in two directories are the same, byte for byte

CARGO ?= cargo

.PHONY: build programs reproducible run test test-unit test-matrix check sim demo bench faults

build: programs
	$(MAKE) --no-print-directory pages

programs:
	$(RELEASE) build --locked --release -p scachectl -p scache-client-c
	$(RELEASE) build --locked --release -p scached --bin scached
	$(build-scache)

# What is released has no path of this machine in it: `make reproducible` says whether.
CARGO_HOME_DIRECTORY = $(or $(CARGO_HOME),$(HOME)/.cargo)
RELEASE = RUSTFLAGS="$(strip $(RUSTFLAGS) --remap-path-prefix=$(CARGO_HOME_DIRECTORY)=/usr/src/cargo \
	$(if $(CARGO_TARGET_DIR),--remap-path-prefix=$(CARGO_TARGET_DIR)=/usr/src/scache/target) \
	--remap-path-prefix=$(CURDIR)=/usr/src/scache)" $(CARGO)

# scache is linked statically: master(8) runs it in chroots, and one file serves every release of a distribution. The
# other programs are linked to the system's libc, whose name service resolves host names for them. `STATIC=` links scache
# as them.
STATIC = -C target-feature=+crt-static

define build-scache
@echo "$(CARGO) rustc --locked --release -p scached --bin scache -- $(STATIC)"
@$(RELEASE) rustc --locked --release -p scached --bin scache -- $(STATIC) || { \
	echo "scache was not built. If the linker found no -lc: install the static libc (Debian's libc6-dev has it, Fedora" \
		"calls it glibc-static), or run \`make STATIC= $(MAKECMDGOALS)\`, which links scache to the system's libc" >&2; exit 1; }
endef

# Every program, with scache as it is installed.
define build-all
$(RELEASE) build --locked --release --workspace --bins
$(build-scache)
endef

run:
	$(RELEASE) run --locked --release --bin scached

# The tests of whole programs look for them beside themselves, so all of it is built first. A program keeps ignoring the
# signals that nohup(1) and a shell's `&` make it ignore, and tests send it these.
AS_USUAL = env --default-signal=HUP,INT,QUIT,TERM

test:
	$(CARGO) build --locked --workspace --all-features --all-targets
	$(AS_USUAL) $(CARGO) test --locked --workspace --all-features

# Whole programs too, but for what needs root or a package of Debian: the feature `system` of scache-tests.
UNIT = --locked --workspace --exclude scache-benches --no-default-features

test-unit:
	$(CARGO) build $(UNIT) --all-targets
	$(AS_USUAL) $(CARGO) test $(UNIT)

test-matrix:
	$(build-scache)
	tests/matrix/run $(SUITES)

reproducible:
	pkg/reproducible

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-features --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --all-features --no-deps

# Only here are seeds random: every other run takes the same ones. Built apart from what is released: with checks, and
# quickly.
sim:
	@first=$(or $(FIRST),$$(od -An -N5 -tu8 /dev/urandom | tr -d ' ')) && echo "make sim FIRST=$$first" && \
	SCACHE_FIRST_SEED=$$first SCACHE_SIM_SEEDS=$(or $(SEEDS),10000) SCACHE_SIM_STEPS=$(or $(STEPS),20000) \
	SCACHE_MODEL_SEEDS=$(or $(MODEL_SEEDS),10000) SCACHE_GARBAGE_SEEDS=$(or $(GARBAGE_SEEDS),100000) \
	CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true \
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	$(CARGO) test --locked --release --target-dir target/sim -p scache-engine -p scache-store -p scache-proto \
		--test simulation --test model --test garbage -- --nocapture

demo:
	$(build-all)
	$(RELEASE) run --locked --release --bin demo

bench:
	$(build-all)
	$(RELEASE) run --locked --release --bin bench -- --page docs $(BENCH)

# SHORT=1 for small numbers, PARTS="stalled reload" for some of it; `faults --help` lists what else can be set.
faults:
	$(build-all)
	$(RELEASE) run --locked --release --bin faults -- $(if $(SHORT),--short) $(PARTS)

include pkg/install.mk
