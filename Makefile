# Builds, installs and tests corten. `make help` lists the targets.

CARGO      ?= cargo
PREFIX     ?= /usr/local
DESTDIR    ?=
TARGET_DIR ?= $(or $(CARGO_TARGET_DIR),target)

BINDIR     = $(DESTDIR)$(PREFIX)/bin
LIBEXECDIR = $(DESTDIR)$(PREFIX)/libexec/corten
UNITDIR    = $(DESTDIR)$(PREFIX)/lib/systemd/system
BASHDIR    = $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSHDIR     = $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISHDIR    = $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
DOCDIR     = $(DESTDIR)$(PREFIX)/share/doc/corten

HOST = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: build corten monitor install uninstall test lint fmt clean help

## build: the release binaries (the default)
build: corten monitor

corten:
	$(CARGO) build --locked --release -p corten --bin corten

# Static and at a fixed place: one of it stays in memory for each container.
monitor:
	RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static' \
	    $(CARGO) build --locked --profile monitor -p corten-conmon --target $(HOST)
	install -D -m 0755 $(TARGET_DIR)/$(HOST)/monitor/corten-conmon $(TARGET_DIR)/release/corten-conmon

## install: binaries, unit and completions below PREFIX (/usr/local), with DESTDIR before it
install: build
	install -d $(BINDIR) $(LIBEXECDIR) $(UNITDIR) $(BASHDIR) $(ZSHDIR) $(FISHDIR) $(DOCDIR)
	install -m 0755 $(TARGET_DIR)/release/corten $(BINDIR)/corten
	install -m 0755 $(TARGET_DIR)/release/corten-conmon $(LIBEXECDIR)/corten-conmon
	sed 's|/usr/local/bin|$(PREFIX)/bin|' contrib/corten.service > $(UNITDIR)/corten.service
	$(TARGET_DIR)/release/corten completion bash > $(BASHDIR)/corten
	$(TARGET_DIR)/release/corten completion zsh > $(ZSHDIR)/_corten
	$(TARGET_DIR)/release/corten completion fish > $(FISHDIR)/corten.fish
	$(TARGET_DIR)/release/corten config > $(DOCDIR)/corten.toml
	install -m 0644 contrib/crictl.yaml contrib/cni/10-corten.conflist $(DOCDIR)

## uninstall: what install put there
uninstall:
	rm -f $(BINDIR)/corten $(UNITDIR)/corten.service $(BASHDIR)/corten $(ZSHDIR)/_corten $(FISHDIR)/corten.fish
	rm -rf $(LIBEXECDIR) $(DOCDIR)

## test: everything, as the project's CI does (root)
test:
	contrib/test

## lint: formatting and clippy
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

## fmt: format the source
fmt:
	$(CARGO) fmt --all

clean:
	$(CARGO) clean

help:
	@sed -n 's/^## //p' Makefile
