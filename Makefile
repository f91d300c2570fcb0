# Everything a person or CI runs. `make demo` and `make test` need nothing but Python 3.11 and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SERVERS := dovecot-core dovecot-pop3d dovecot-imapd dovecot-lmtpd zstd openssl systemd

.PHONY: demo test check bench lock clean

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m fetchd.demo

test: $(VENV)/.installed servers cyrus postfix mutt srs rivals
	$(BIN)/python -m pytest -n 3 --dist loadgroup

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# `make bench WORKS=imap` measures a part: see benchmarks/run.py.
bench: $(VENV)/.installed servers postfix rivals
	$(BIN)/python -m benchmarks.run $(WORKS); measured=$$?; \
	$(BIN)/python -m benchmarks.forwarding || measured=$$?; \
	$(BIN)/python -m benchmarks.kill --kills 200 && \
	$(BIN)/python -m benchmarks.kill --kills 200 --protocol imap && \
	$(BIN)/python -m benchmarks.kill --kills 50 --restore && \
	$(BIN)/python -m benchmarks.kill_serve --kills 100 && \
	$(BIN)/python -m benchmarks.kill --kills 100 --deliver && exit $$measured

.PHONY: soak many
soak: $(VENV)/.installed servers
	$(BIN)/python -m benchmarks.soak --minutes 30
many: $(VENV)/.installed servers rivals
	$(BIN)/python -m benchmarks.many

# What the bench measures against, which the suite tries too, and a C compiler for its
# drain, where we may install them. Without what they recommend: procmail would bring an MTA.
RIVALS := mpop isync offlineimap3 fetchmail procmail getmail6 fdm gcc libc6-dev
.PHONY: rivals
rivals:
	@for program in mpop mbsync offlineimap fetchmail procmail getmail fdm cc; do \
	  command -v $$program >/dev/null || lacking=yes; done; \
	if [ -n "$$lacking" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(RIVALS) >/dev/null; \
	  else echo "For the whole bench and suite: sudo apt-get install $(RIVALS)"; fi; fi

# The real servers of the suite, where this machine lets us install them.
.PHONY: servers
servers:
	@if ! command -v /usr/sbin/dovecot >/dev/null || ! command -v zstd >/dev/null \
	  || ! command -v systemd-analyze >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SERVERS) >/dev/null; \
	  else echo "For the tests against real servers: sudo apt-get install $(SERVERS)"; fi; fi

# Unpacked and not installed: the packages of these either start a server or depend on one that
# would. Libraries come only where they lack. Cyrus is the second IMAP server of the suite, Postfix
# the mail server that we deliver to, mutt the reader of what we delivered, Mail::SRS the
# stranger that turns our rewritten senders around.
CYRUS   := cyrus-common cyrus-imapd
POSTFIX := postfix
MUTT    := mutt
SRS     := libmail-srs-perl libdigest-hmac-perl
.PHONY: cyrus postfix mutt srs
cyrus:   packages := $(CYRUS)
postfix: packages := $(POSTFIX)
mutt:    packages := $(MUTT)
srs:     packages := $(SRS)
cyrus postfix mutt srs:
	@if ! [ -e $(VENV)/$@ ] && command -v apt-get >/dev/null; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq; fi; \
	  sh tests/servers/unpack.sh $(VENV)/$@ $(packages) || \
	  echo "For the tests against $@: sudo apt-get update, then make $@"; fi

lock:
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --extra dev --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --no-header --no-annotate --strip-extras --allow-unsafe \
	  --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) demo-data benchmarks/work
