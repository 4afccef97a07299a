# make demo     set everything up and run a container          make test    every test there is
# make build    pyrunc in .venv/bin                            make lint    the linters
# make rootfs   the sample bundles' root file system           make bench   pyrunc, runc and crun side by side
# make conformance RUNTIME=runc    the black-box suite against any runtime
# make peers    newer runc and crun than the host's, in build/peers, for conformance and bench
# make fuzz     fuzzers, for FUZZ_SECONDS                  make coverage-executor    what of it no test reaches
# make sbom     build/sbom.json: what an installation consists of     make lock    pin the newest versions in .ci/requirements
# make test-vm                     tests in a virtual machine: cgroup v2 alone, under systemd (tests/vm/run.py)
# make test-engines                containerd, Docker and Podman with pyrunc; writes the matrix of docs/engines.md
#
# PYTHON=/path/to/python3 chooses the interpreter (3.11 or later) when .venv is made. The default is the system's, if it
# is new enough: a distribution's optimised build starts fastest, and start-up is most of what pyrunc costs.

.PHONY: build demo test test-vm test-engines peers bench soak fuzz coverage-executor lint lock sbom clean rootfs conformance deps deps-test deps-engines deps-vm deps-fuzz deps-peers extra-test extra-bench
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON  ?=
RUNTIME ?= pyrunc
# a name is looked up in PATH, as $RUNTIME of the suite is; ours need not be there
RUNTIME_PATH = $(if $(filter pyrunc,$(RUNTIME)),$(CURDIR)/.venv/bin/pyrunc,$(RUNTIME))
FUZZ_SECONDS ?= 120
# the page whose matrix of engines and actions `make test-engines` writes
MATRIX  ?= docs/engines.md
SUDO    := $(if $(filter-out 0,$(shell id -u)),sudo)
AS_ROOT := $(if $(SUDO),sudo --preserve-env)
LOGS    := build/log
SOURCES := $(shell find csrc pyrunc -name '*.py' -o -name '*.[ch]' -o -name '*.ld') $(wildcard setup.py pyproject.toml MANIFEST.in docs/man/*.8 .ci/requirements/build.txt)
SAMPLES := bundles/make-rootfs $(wildcard bundles/*/inside)

DEBS      := gcc libc6-dev linux-libc-dev libseccomp2 busybox-static $(if $(PYTHON),,python3 python3-dev python3-venv)
# the other processor's compiler and an emulator, where there is such a package
DEBS_CROSS := $(if $(filter x86_64,$(shell uname -m)),gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)
DEBS_TEST := $(DEBS) clang runc crun uidmap iproute2 util-linux strace valgrind $(DEBS_CROSS)
DEBS_FUZZ := $(DEBS) clang libclang-rt-dev
DEBS_VM   := qemu-system-x86 debootstrap e2fsprogs xz-utils
DEBS_PEERS := patchelf
DEBS_ENGINES := $(DEBS) containerd runc docker.io podman buildah conmon crun tini netavark aardvark-dns iptables iproute2 util-linux procps
# the release of Debian whose engines are run beside the host's, from a directory of their own
NEWER   := trixie

# $(call logged,name) after a command keeps its output in a file; a failure is one line, the first that speaks of an error.
logged = >$(LOGS)/$(1).log 2>&1 || { \
	why=$$(grep -m 1 -E 'pyrunc needs |^ *E: |ERROR: |[Ee]rror: [^s]' $(LOGS)/$(1).log || tail -n 1 $(LOGS)/$(1).log); \
	echo "$(1): $${why\#\#"$${why%%[! ]*}"} (all of it: $(LOGS)/$(1).log)" >&2; exit 1; }

build: .venv/.built

demo: build rootfs
	@echo '$$ pyrunc run --bundle bundles/hello hello'
	@$(SUDO) .venv/bin/pyrunc run --bundle bundles/hello hello-$$$$
	@echo '$$ pyrunc plan bundles/hello | head -n 12'
	@.venv/bin/pyrunc plan bundles/hello >build/plan.txt && head -n 12 build/plan.txt

# Root runs the tests, as most of them make real containers; the tests of ordinary users drop to one by themselves.
test: deps-test build extra-test rootfs
	@echo 'tests/'
	@status=0; \
	$(AS_ROOT) .venv/bin/pytest tests $(PYTEST_ARGS) || status=1; \
	$(MAKE) conformance || status=1; \
	exit $$status

conformance: deps-test build extra-test
	@echo 'spec-tests/ with $(RUNTIME_PATH)'
	@mkdir -p build
	@$(AS_ROOT) env RUNTIME='$(RUNTIME_PATH)' .venv/bin/pytest spec-tests \
		--results=build/conformance-$(notdir $(RUNTIME)).json $(SPEC_TEST_ARGS)

# Debian's newest: RUNTIME=$PWD/build/peers/runc-1.4.3 for one of them. BENCH_ARGS="--runtimes pyrunc,..." takes paths as well.
PEERS   ?= runc/experimental crun/sid
peers: deps-peers
	@mkdir -p $(LOGS); spec-tests/peers build/peers $(PEERS) $(call logged,peers)
	@ls -d $(CURDIR)/build/peers/*-*

# The host's engines and the newer ones at the same time, each in a box: they mostly wait. JUNIT names their result files. The matrix
# is of all results in build/engines: `make test-engines NEWER=forky`, and once more without, has three releases in it.
test-engines: deps-engines build extra-test
	@echo 'tests/engines, of the host and of Debian $(NEWER)'
	@mkdir -p $(LOGS); rm -f build/engines/host.json build/engines/$(NEWER).json
	@($(call engines,newer,$(NEWER)) >$(LOGS)/engines-newer.log 2>&1; echo $$? >build/engines/status) & \
	status=0; $(call engines,host,host) || status=1; \
	wait; cat $(LOGS)/engines-newer.log; \
	.venv/bin/python tests/engines/matrix.py $(MATRIX) build/engines/*.json && [ $$status$$(cat build/engines/status) = 00 ]

engines = $(AS_ROOT) .venv/bin/pytest -m engines tests/engines --newer build/engines/$(NEWER) --release $(1) \
	--results build/engines/$(2).json $(if $(JUNIT),--junitxml=$(JUNIT)-$(1).xml) $(PYTEST_ARGS)

test-vm: deps-vm
	@$(AS_ROOT) python3 tests/vm/run.py $(VM_ARGS)

# FUZZ_SECONDS is for all targets together (tests/fuzz/README.md); FUZZ_TARGETS chooses some of them.
fuzz: deps-fuzz build extra-test
	@.venv/bin/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS) $(FUZZ_TARGETS)

# Which lines and branches of the executor nothing reaches: none, or the source says why.
coverage-executor: deps build extra-test
	@.venv/bin/python tests/executor/executor_coverage.py

# What an installation consists of, as cyclonedx-py sees it in a virtual environment that holds nothing else.
sbom: build
	@rm -rf build/sbom
	@.venv/bin/python -m venv build/sbom/tool $(call logged,sbom-venv)
	@.venv/bin/python -m venv --without-pip build/sbom/installed $(call logged,sbom-venv)
	@build/sbom/tool/bin/$(INSTALL) $(call locked,sbom) $(call logged,sbom-pip)
	@build/sbom/tool/bin/pip --python build/sbom/installed/bin/python $(wordlist 2,9,$(INSTALL)) $(call locked,run) $(call logged,sbom-run)
	@.venv/bin/pip --python build/sbom/installed/bin/python $(wordlist 2,9,$(INSTALL)) --no-deps .  $(call logged,sbom-own)
	@build/sbom/tool/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --mc-type application \
		--output-file build/sbom.json build/sbom/installed/bin/python $(call logged,sbom)
	@echo build/sbom.json

lock:
	@.ci/lock

lint: build extra-test
	@.venv/bin/pytest -q -m lint tests

bench: deps-test build extra-bench rootfs
	@$(AS_ROOT) .venv/bin/python bench/bench.py $(BENCH_ARGS)

soak: build rootfs
	@$(AS_ROOT) .venv/bin/python bench/soak.py --runtime '$(RUNTIME)' $(SOAK_ARGS)

clean:
	@$(SUDO) rm -rf .venv build dist *.egg-info bundles/rootfs bundles/rootfs.new.* bundles/overlay/changes bench/results
	@$(SUDO) rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@$(SUDO) find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
	@rm -f pyrunc/*.so

rootfs: bundles/rootfs/bin/busybox

bundles/rootfs/bin/busybox: $(SAMPLES) | deps
	@echo 'make the root file system of the bundles'
	@bundles/make-rootfs bundles/rootfs
	@touch $@

# --- the virtual environment ------------------------------------------------------------------------------------------

.venv/bin/pip: | deps
	@mkdir -p $(LOGS)
	@new_enough='import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'; \
	for python in $(or $(PYTHON),/usr/bin/python3 python3); do \
		if "$$python" -c "$$new_enough" 2>/dev/null; then \
			echo "make .venv with $$("$$python" -V), $$(command -v "$$python")"; \
			"$$python" -m venv --clear .venv $(call logged,venv); exit 0; \
		fi; \
	done; \
	echo 'python: 3.11 or later with the venv module is needed (apt install python3-venv, or make PYTHON=...)' >&2; exit 1

# Only the very files whose hashes .ci/requirements has: docs/dependencies.md.
INSTALL := pip install --disable-pip-version-check --no-input
locked  = --require-hashes -r .ci/requirements/$(1).txt

# setuptools keeps what it copied to build/lib for ever, also modules that were deleted since.
.venv/.built: $(SOURCES) | .venv/bin/pip
	@echo 'build pyrunc and install it in .venv'
	@mkdir -p $(LOGS)
	@rm -rf build/lib* build/temp* build/bdist* *.egg-info
	@.venv/bin/$(INSTALL) $(call locked,build) $(call logged,pip-build)
	@.venv/bin/$(INSTALL) --no-deps --no-build-isolation . $(call logged,pip)
	@touch $@

extra-test extra-bench: extra-%: .venv/.extra-%

.venv/.extra-%: .ci/requirements/%.txt | .venv/bin/pip
	@echo "install what 'make $*' needs in .venv"
	@mkdir -p $(LOGS)
	@.venv/bin/$(INSTALL) $(call locked,$*) $(call logged,pip-$*)
	@touch $@

# --- Debian's packages ------------------------------------------------------------------------------------------------

deps:
	@$(call install,$(DEBS))

deps-test:
	@$(call install,$(DEBS_TEST))

deps-fuzz:
	@$(call install,$(DEBS_FUZZ))

deps-vm:
	@$(call install,$(DEBS_VM))

deps-peers:
	@$(call install,$(DEBS_PEERS))

# No engine of the host is started by its installation: the tests start their own. A host's own policy stays as it is.
deps-engines:
	@policy=/usr/sbin/policy-rc.d; \
	if [ -d /usr/sbin ] && [ ! -e $$policy ]; then \
		printf '#!/bin/sh\nexit 101\n' | $(SUDO) tee $$policy >/dev/null; $(SUDO) chmod 755 $$policy; \
		trap '$(SUDO) rm -f /usr/sbin/policy-rc.d' EXIT; \
	fi; \
	$(call install,$(DEBS_ENGINES))
	@[ -e build/engines/$(NEWER)/.unpacked ] || echo 'unpack the engines of Debian $(NEWER) in build/engines'
	@mkdir -p $(LOGS); $(SUDO) tests/engines/unpack build/engines/$(NEWER) $(NEWER) $(call logged,unpack)

# A new machine runs an apt of its own: it is waited for. apt itself waits for dpkg's lock, and not for that of its lists.
install = mkdir -p $(LOGS); \
	command -v apt-get >/dev/null || { [ -e $(LOGS)/no-apt ] || echo 'no apt-get: install the like of these yourself: $(1)'; \
		touch $(LOGS)/no-apt; exit 0; }; \
	missing=$$(for p in $(1); do \
		[ "$$(dpkg-query -f '$${db:Status-Status}' -W $$p 2>/dev/null)" = installed ] || printf '%s ' $$p; done); \
	[ -n "$$missing" ] || exit 0; \
	echo "install $$missing"; \
	{ for try in $$(seq 100); do \
		$(SUDO) env LC_ALL=C apt-get update -q 2>$(LOGS)/apt-lists.log && break; cat $(LOGS)/apt-lists.log; \
		grep -q 'lock /var/lib/apt/lists/lock. It is held' $(LOGS)/apt-lists.log || exit 1; sleep 3; \
	  done && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends $$missing; \
	} $(call logged,apt)
