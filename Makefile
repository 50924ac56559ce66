# make demo   the whole loop, told as a story, in a throw-away directory
# make test   every test that can run here, real hosts included when root
# make check  what CI runs: formatting, lints, tests, stale files
# make fuzz   hostile bytes for the parsers of trust, a minute each (FUZZ_SECONDS=600 for ten)
# make deb    the Debian package, in target/debian/
# make deb-arm64  that of arm64, made on another architecture (docs/how-to/package.md#arm64 says what it needs first)
# make bench  what a no-op, the proof of a history, polls and idling cost, beside bounds and peers measured in the same run
#
# Packages that are missing are named and installed (apt, through sudo when not root). A Rust toolchain must be there.

CARGO ?= cargo
SHELL := /bin/bash

# To build: OpenSSL of the system; clang writes the bindings to OpenSSL.
BUILD_PACKAGES := pkg-config:pkg-config cc:gcc clang:clang /usr/lib/llvm-*/lib/libclang*.so*:libclang-dev \
  /usr/include/openssl/ssl.h:libssl-dev
# To run the demo: git serves file remotes, visudo checks sudo rules.
DEMO_PACKAGES := git:git visudo:sudo
# To test: real signatures, and real hosts under systemd-nspawn.
TEST_PACKAGES := gpg:gnupg gpg-agent:gpg-agent ssh-keygen:openssh-client openssl:openssl strace:strace systemd-nspawn:systemd-container \
  mmdebstrap:mmdebstrap nft:nftables ip:iproute2 pwck:passwd promtool:prometheus perl:perl \
  mkfs.ext4:e2fsprogs losetup:mount
# To make the package and look it over.
DEB_PACKAGES := dpkg-deb:dpkg dpkg-shlibdeps:dpkg-dev strip:binutils lintian:lintian
# To make that of arm64 elsewhere: a compiler that writes for it, and its OpenSSL.
ARM64_PACKAGES := aarch64-linux-gnu-g++:crossbuild-essential-arm64 /usr/lib/aarch64-linux-gnu/libssl.so:libssl-dev:arm64
# To fuzz: libFuzzer is C++.
FUZZ_PACKAGES := c++:g++
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60

.PHONY: demo test check fuzz deb deb-arm64 bench bless
.DEFAULT_GOAL := demo

demo:
	@packaging/install-missing $(BUILD_PACKAGES) $(DEMO_PACKAGES)
	@$(CARGO) build
	@target/debug/hostwrit demo

test:
	@packaging/install-missing $(BUILD_PACKAGES) $(DEMO_PACKAGES) $(TEST_PACKAGES) $(DEB_PACKAGES)
	@tests/run

check:
	@packaging/install-missing $(BUILD_PACKAGES) $(DEMO_PACKAGES) $(TEST_PACKAGES) $(DEB_PACKAGES) $(FUZZ_PACKAGES)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --all-targets -- --deny warnings
	@tests/run

fuzz:
	@packaging/install-missing $(BUILD_PACKAGES) $(FUZZ_PACKAGES)
	@fuzz/run $(FUZZ_SECONDS)

deb:
	@packaging/install-missing $(BUILD_PACKAGES) $(DEB_PACKAGES)
	@packaging/install-cargo-deb
	@packaging/build-deb
	@lintian --fail-on warning target/debian/hostwrit_*.deb

deb-arm64:
	@packaging/install-missing $(BUILD_PACKAGES) $(DEB_PACKAGES) $(ARM64_PACKAGES)
	@packaging/install-cargo-deb
	@packaging/build-deb --target aarch64-unknown-linux-gnu
	@lintian --fail-on warning target/debian/hostwrit_*_arm64.deb

bench:
	@packaging/install-missing $(BUILD_PACKAGES) $(DEMO_PACKAGES) $(TEST_PACKAGES)
	@tests/oracle/install --fast
	$(CARGO) bench --quiet

# Rewrites expected texts and schemas after an intended change; read the diff before you commit it. Snapshots inside
# tests/cli are reviewed with `cargo insta review`.
bless:
	HOSTWRIT_BLESS=1 $(CARGO) test --quiet
