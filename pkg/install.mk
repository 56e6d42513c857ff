# make install    what `make build` made, below DESTDIR/PREFIX
# make uninstall  removes it again
# make pages      manual pages of scachectl and completions, out of the definition of its options
# make deb        Debian packages below target/debian (builds what is released: some minutes)
# make lintian    what Debian's lintian(1) says of them (installs lintian if it is not there)
# make security   how well the unit keeps scached in, and whether that is as well as it was
# make sizes      of the programs, stripped, and how much the daemon depends on; what scache costs for being static: size,
#                 start-up time

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
# The directory with the built programs. Tests install what they have built already.
BUILD ?= $(or $(CARGO_TARGET_DIR),target)/release

# What takes debug symbols out of what is installed; `STRIP=` leaves them in.
STRIP ?= strip
install-program = install -m 755 $(if $(STRIP),-s --strip-program=$(STRIP))

bindir = $(PREFIX)/bin
sbindir = $(PREFIX)/sbin
# Nobody calls it by hand: `scachectl postfix install` copies it from here.
libexecdir = $(PREFIX)/lib/scache
libdir = $(PREFIX)/lib
includedir = $(PREFIX)/include
sharedir = $(PREFIX)/share
mandir = $(sharedir)/man
docdir = $(sharedir)/doc/scache
unitdir = $(PREFIX)/lib/systemd/system

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Programs that are linked against it look for this name; it changes when the interface does.
SONAME = libscache.so.0

CARGO_DEB_VERSION = 3.8.0
# 0 to 10, smaller is better: what `make security` lets pass, in tenths.
EXPOSURE = 8

.PHONY: pages install uninstall deb lintian security sizes

pages:
	$(RELEASE) run --locked --release -p scachectl --example pages -- $(BUILD)/pages

# In the order of the file system. Nothing is built here: this may run as another user than the one who builds.
install:
	@test -x $(BUILD)/scached -a -d $(BUILD)/pages || { echo "there is nothing to install: run \`make build\` first" >&2; exit 1; }
	install -d $(addprefix $(DESTDIR), $(bindir) $(sbindir) $(libexecdir) $(includedir) $(libdir)/pkgconfig $(docdir)/benchmarks \
		$(foreach section, 1 5 8, $(mandir)/man$(section) $(mandir)/ja/man$(section)) \
		$(unitdir) $(PREFIX)/lib/tmpfiles.d $(PREFIX)/lib/sysusers.d $(SYSCONFDIR) $(sharedir)/scache/monitoring \
		$(sharedir)/bash-completion/completions $(sharedir)/zsh/site-functions $(sharedir)/fish/vendor_completions.d)
	$(install-program) $(BUILD)/scachectl $(DESTDIR)$(bindir)
	$(install-program) $(BUILD)/scached $(DESTDIR)$(sbindir)
	$(install-program) $(BUILD)/scache $(DESTDIR)$(libexecdir)
	install -m 644 $(BUILD)/pages/man1/*.1 $(DESTDIR)$(mandir)/man1
	for section in 1 5 8; do for page in man/*.$$section; do test ! -e $$page || install -m 644 $$page $(DESTDIR)$(mandir)/man$$section; done; done
	for section in 1 5 8; do install -m 644 man/ja/*.$$section $(DESTDIR)$(mandir)/ja/man$$section; done
	install -m 644 $(BUILD)/pages/bash/* $(DESTDIR)$(sharedir)/bash-completion/completions
	install -m 644 $(BUILD)/pages/zsh/* $(DESTDIR)$(sharedir)/zsh/site-functions
	install -m 644 $(BUILD)/pages/fish/* $(DESTDIR)$(sharedir)/fish/vendor_completions.d
	install -m 644 pkg/systemd/*.socket $(DESTDIR)$(unitdir)
	for unit in pkg/systemd/*.service; do \
		sed 's|/usr/sbin/|$(sbindir)/|; s|/usr/bin/|$(bindir)/|; s| /etc/| $(SYSCONFDIR)/|' $$unit >$(DESTDIR)$(unitdir)/$${unit##*/} && \
		chmod 644 $(DESTDIR)$(unitdir)/$${unit##*/} || exit 1; \
	done
	install -m 644 pkg/tmpfiles.d/scache.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
	install -m 644 pkg/sysusers.d/scache.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d
	test -e $(DESTDIR)$(SYSCONFDIR)/scache.toml || install -m 644 pkg/scache.toml $(DESTDIR)$(SYSCONFDIR)
	install -m 644 crates/scache-client-c/include/scache.h $(DESTDIR)$(includedir)
	install -m 644 $(BUILD)/libscache.a $(DESTDIR)$(libdir)
	$(if $(STRIP),$(STRIP) --strip-debug $(DESTDIR)$(libdir)/libscache.a)
	$(install-program) $(BUILD)/libscache.so $(DESTDIR)$(libdir)/libscache.so.$(VERSION)
	ln -sf libscache.so.$(VERSION) $(DESTDIR)$(libdir)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/libscache.so
	sed 's|@PREFIX@|$(PREFIX)|; s|@INCLUDEDIR@|$(includedir)|; s|@LIBDIR@|$(libdir)|; s|@VERSION@|$(VERSION)|' pkg/scache.pc.in \
		>$(DESTDIR)$(libdir)/pkgconfig/scache.pc
	chmod 644 $(DESTDIR)$(libdir)/pkgconfig/scache.pc
	$(call install-documents,$(DESTDIR)$(docdir))
	install -m 644 LICENSE $(DESTDIR)$(docdir)
	install -d $(DESTDIR)$(sharedir)/scache/apparmor
	install -m 644 pkg/apparmor/* $(DESTDIR)$(sharedir)/scache/apparmor
	for file in pkg/monitoring/*; do test ! -f $$file || install -m 644 $$file $(DESTDIR)$(sharedir)/scache/monitoring; done

	@$(if $(DESTDIR),,echo "run \`ldconfig\` as root, so that programs find $(SONAME)")

# In the source the documents lie in several directories, here in one: their links lead to where things are installed.
INSTALLED_LINKS = s|](docs/|](|g; s|](\.\./pkg/monitoring/|](../../scache/monitoring/|g; s|](\.\./pkg/apparmor/|](../../scache/apparmor/|g; \
	s|](\.\./pkg/systemd/|](../../../lib/systemd/system/|g; s|](\.\./\([A-Z]\)|](\1|g; s|](crates/[^)]*/|](|g
DOCUMENTS = README.md README.ja.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md $(wildcard docs/*.md)
DOCUMENTED_FILES = $(filter-out docs/%.md, $(wildcard docs/*.*)) crates/scache-client-c/include/scache.h \
	crates/scache-client-c/examples/reuse.c crates/scachectl/examples/ten-mails.sh crates/scachectl/examples/one-mail.pl

# $(1): the directory for them
define install-documents
install -d $(1)/benchmarks
for file in $(DOCUMENTS); do sed '$(INSTALLED_LINKS)' $$file >$(1)/$${file##*/} && chmod 644 $(1)/$${file##*/} || exit 1; done
install -m 644 $(DOCUMENTED_FILES) $(1)
install -m 644 docs/benchmarks/*.svg $(1)/benchmarks
endef

# /etc/scache.toml stays if it was changed. A directory goes when nothing else is in it, and those that every
# system has stay.
uninstall:
	rm -f $(addprefix $(DESTDIR)$(bindir)/, scachectl) $(DESTDIR)$(sbindir)/scached
	rm -f $(addprefix $(DESTDIR)$(mandir)/, man1/scachectl.1 man1/scachectl-*.1 man5/scache.toml.5 man8/scache.8 man8/scached.8 \
		ja/man1/scachectl.1 ja/man5/scache.toml.5 ja/man8/scache.8 ja/man8/scached.8)
	for name in scached scachectl; do \
		rm -f $(DESTDIR)$(sharedir)/bash-completion/completions/$$name \
			$(DESTDIR)$(sharedir)/zsh/site-functions/_$$name \
			$(DESTDIR)$(sharedir)/fish/vendor_completions.d/$$name.fish; \
	done
	for unit in pkg/systemd/*; do rm -f $(DESTDIR)$(unitdir)/$${unit##*/}; done
	rm -f $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/scache.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/scache.conf
	! cmp -s pkg/scache.toml $(DESTDIR)$(SYSCONFDIR)/scache.toml || rm $(DESTDIR)$(SYSCONFDIR)/scache.toml
	rm -f $(DESTDIR)$(includedir)/scache.h $(DESTDIR)$(libdir)/libscache.a $(DESTDIR)$(libdir)/libscache.so* \
		$(DESTDIR)$(libdir)/pkgconfig/scache.pc
	rm -rf $(DESTDIR)$(docdir) $(DESTDIR)$(sharedir)/scache $(DESTDIR)$(libexecdir)
	for directory in $(libdir)/pkgconfig $(unitdir) $(libdir)/systemd $(libdir)/tmpfiles.d $(libdir)/sysusers.d \
		$(mandir)/ja/man1 $(mandir)/ja/man5 $(mandir)/ja/man8 $(mandir)/ja \
		$(sharedir)/bash-completion/completions $(sharedir)/bash-completion $(sharedir)/zsh/site-functions $(sharedir)/zsh \
		$(sharedir)/fish/vendor_completions.d $(sharedir)/fish; do \
		test ! -d $(DESTDIR)$$directory || rmdir --ignore-fail-on-non-empty $(DESTDIR)$$directory; \
	done

# Stale packages would be judged along with the new ones.
deb: build target/tools/bin/cargo-deb
	rm -rf target/debian target/packaging
	mkdir -p target/packaging/man1
	for page in target/release/pages/man1/*.1; do gzip -9nc $$page >target/packaging/man1/$${page##*/}.gz || exit 1; done
	for package in scached scachectl scache-client-c; do \
		pkg/third-party $$package >target/packaging/$$package.third-party || exit 1; \
		{ cat pkg/debian/copyright; sed 's/^$$/./; s/^/ /' LICENSE; \
			printf '\nFiles: Cargo.lock\nCopyright: the authors of the crates that it names\nLicense: third-party\n'; \
			sed 's/^[[:space:]]*$$/./; s/^/ /' target/packaging/$$package.third-party; } >target/packaging/$$package.copyright; \
	done
	for package in scachectl libscache0 libscache-dev; do \
		sed "s/^scache (/$$package (/" pkg/debian/changelog >target/packaging/$$package.changelog || exit 1; \
	done
	$(call install-documents,target/packaging/documents)
	install -d target/packaging/lib
	install -m 644 -s --strip-program=$(or $(STRIP),true) $(BUILD)/libscache.so target/packaging/lib/libscache.so.$(VERSION)
	ln -s libscache.so.$(VERSION) target/packaging/lib/$(SONAME)
	ln -s $(SONAME) target/packaging/lib/libscache.so
	install -m 644 $(BUILD)/libscache.a target/packaging/lib
	$(or $(STRIP),true) --strip-debug target/packaging/lib/libscache.a
	sed 's|@PREFIX@|/usr|; s|@INCLUDEDIR@|/usr/include|; s|@LIBDIR@|/usr/lib/$(shell dpkg-architecture -qDEB_HOST_MULTIARCH)|; s|@VERSION@|$(VERSION)|' \
		pkg/scache.pc.in >target/packaging/lib/scache.pc
	for package in scached scachectl "scache-client-c --multiarch same" "scache-client-c --multiarch same --variant dev"; do \
		target/tools/bin/cargo-deb --no-build --dbgsym --locked -p $$package --output target/debian/ || exit 1; \
	done

target/tools/bin/cargo-deb:
	$(CARGO) install cargo-deb --version $(CARGO_DEB_VERSION) --locked --root target/tools --target-dir target/tools/build

lintian:
	command -v lintian >/dev/null || apt-get install -y --no-install-recommends lintian
	lintian --allow-root --fail-on error,warning --display-info target/debian/*_$(VERSION)-*.deb

security:
	systemd-analyze security --offline=true --threshold=$(EXPOSURE) --no-pager pkg/systemd/scached.service

sizes:
	@mkdir -p target/sizes
	@for program in scached scache scachectl libscache.so; do \
		strip -o target/sizes/$$program $(BUILD)/$$program && \
		printf '%-14s %6d KiB stripped\n' $$program $$(( $$(stat -c %s target/sizes/$$program) / 1024 )); \
	done
	@for package in scached scachectl; do \
		printf '%-14s %6d crates besides ours\n' $$package \
			$$($(CARGO) tree --locked -p $$package -e normal --prefix none | grep -v '^scache' | sed 's/ (\*)$$//' | sort -u | wc -l); \
	done
	@$(RELEASE) build --quiet --locked --release -p scached --bin scache
	@strip -o target/sizes/dynamic $(BUILD)/scache
	$(build-scache)
	@strip -o target/sizes/static $(BUILD)/scache
	@pkg/start-up-time target/sizes/dynamic target/sizes/static
