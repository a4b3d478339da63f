# `make demo` and `make test` each make .venv, install what pyproject.toml pins, build the extension, and run.
# Stamps in .venv keep a second call from doing it again.

PYTHON ?= python3
# Any pip from 25.1 on knows --group.
PIP_VERSION := 26.3

VENV := .venv
RUN := $(VENV)/bin/python
OLDEST_TRITON := $(VENV)/triton-oldest
PIP := $(RUN) -m pip --no-input --disable-pip-version-check
# Of tests, whose files each stay in one process, with what they prepare; PYTEST_ARGS=-n0 runs all in one.
PROCESSES := -n auto --maxprocesses 4 --dist loadfile
SOURCES := $(shell find csrc) setup.py pyproject.toml vinr_engine/_version.py

# A build of other flags, or a checkout that moved with its .venv, is another build.
BUILD := VINR_BUILD_EXT=$(or $(VINR_BUILD_EXT),1) VINR_SANITIZE=$(or $(VINR_SANITIZE),0) VINR_CUDA=$(or $(VINR_CUDA),auto) $(VINR_CUDA_TARGETS) in $(CURDIR)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv build test test-all gpu-test sanitize fuzz lint format bench gpu gpu-check gpu-static gpu-kit gpu-report demo wheel clean distclean
.PHONY: compiler FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo 'PYTHON=python3.12 chooses the interpreter of a new .venv; VINR_BUILD_EXT=0 builds without the C++ extension;'
	@echo 'PYTEST_ARGS, DEMO_ARGS, BENCH_ARGS, FUZZ_ARGS, GPU_ARGS and KIT_ARGS are passed on.'

venv: $(VENV)/.run $(VENV)/.test $(VENV)/.lint ## make .venv with everything that is pinned
build: compiler $(VENV)/.built ## build the extension and install the package, editable

test: build $(VENV)/.test ## run the tests but the slow ones
	VINR_TEST_REQUIRE_PACKAGES=1 VINR_TEST_REQUIRE_EXTENSION=$(or $(VINR_BUILD_EXT),1) $(RUN) -m pytest -m "not slow" $(PROCESSES) $(PYTEST_ARGS)

test-all: build $(VENV)/.test $(VENV)/.triton-oldest ## run all tests
	VINR_TEST_REQUIRE_PACKAGES=1 VINR_TEST_REQUIRE_EXTENSION=$(or $(VINR_BUILD_EXT),1) $(RUN) -m pytest $(PYTEST_ARGS)

gpu-test: build $(VENV)/.test ## with an NVIDIA GPU: run the tests that need one, and those of the Triton kernels on it
	VINR_TEST_REQUIRE_GPU=1 VINR_TEST_REQUIRE_PACKAGES=1 VINR_TEST_REQUIRE_EXTENSION=$(or $(VINR_BUILD_EXT),1) $(RUN) -m pytest -m gpu $(PYTEST_ARGS) tests

# libstdc++ comes second, so that AddressSanitizer sees exceptions thrown through it. Leaks are torch's and Python's own.
# What torch.compile and opcheck do, they do in Python: the same calls of C++ again.
sanitize: build $(VENV)/.test ## run the ops' tests under AddressSanitizer and UndefinedBehaviorSanitizer
	VINR_SANITIZE=1 $(RUN) setup.py --quiet build_ext --build-lib build/sanitize --build-temp build/sanitize/temp
	VINR_EXTENSION=build/sanitize/vinr_engine/_C.abi3.so ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so) $$($${CXX:-c++} -print-file-name=libstdc++.so)" \
	$(RUN) -m pytest -m "not slow" $(PROCESSES) -p no:cacheprovider $(or $(SANITIZE_TESTS),tests/ops --ignore-glob='*/test_triton.py' -k "not compile and not opcheck")

fuzz: build $(VENV)/.test ## try damaged files and wrong arguments for FUZZ_ARGS="--seconds 3600" [default: 120]
	PYTHONPATH=tests $(RUN) -m fuzz $(FUZZ_ARGS)

lint: $(VENV)/.run $(VENV)/.lint ## check style and types of all files in git
	$(RUN) -m pre_commit run --all-files

format: $(VENV)/.lint ## rewrite Python and C++ in the project's style
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format
	find csrc export/tensorrt tests/export tests/simt -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' | xargs $(VENV)/bin/clang-format -i

bench: build $(VENV)/.bench ## measure the ops and the network against the published form, about 12 minutes
	$(RUN) -m benchmarks.cpu $(BENCH_ARGS)

gpu-static: build $(VENV)/.test $(VENV)/.triton-oldest ## compile all GPU kernels without a GPU, and report their machine code
	$(RUN) -m benchmarks.static --also $(OLDEST_TRITON) $(foreach to,csv md,--out benchmarks/results/gpu_static.$(to)) $(GPU_ARGS)

gpu-check: build $(VENV)/.test $(VENV)/.triton-oldest ## find spills, missing matrix instructions and too much shared memory in a part of them
	$(RUN) -m benchmarks.static --also $(OLDEST_TRITON) --check --quick $(GPU_ARGS)

gpu: build $(VENV)/.bench ## with an NVIDIA GPU: check every kernel, time it, and write gpu.json
	$(RUN) -m benchmarks.gpu $(GPU_ARGS)

gpu-kit: build ## pack build/gpu-kit, which finds out everything on a host with a GPU: see docs/gpu.md
	$(RUN) -m benchmarks.gpu.kit.build $(KIT_ARGS)

gpu-report: build ## merge RESULTS=DIR, what such a host gave back, into benchmarks/results/gpu, README.md and docs
	@test -n "$(RESULTS)" || { echo >&2 "name the folder that the kit wrote: make gpu-report RESULTS=DIR"; exit 2; }
	$(RUN) -m benchmarks.gpu.kit.report $(RESULTS)

demo: build ## upscale a short clip, and compare with a bicubic one
	$(VENV)/bin/vinr demo $(DEMO_ARGS)

# From the source distribution, so that neither stale objects nor files that it lacks get in. pip's cache would answer a
# source distribution of the same name with the wheel of an earlier one.
wheel: compiler $(VENV)/.run ## build the source distribution and the abi3 wheel into dist/
	rm -f dist/vinr_engine-*
	$(RUN) setup.py --quiet sdist --dist-dir dist
	$(PIP) wheel --quiet --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist dist/vinr_engine-*.tar.gz

clean: ## remove what was built, keep .venv
	rm -rf build dist vinr_demo vinr_engine.egg-info vinr_engine/_C.* $(VENV)/.built
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)

compiler:
	@test "$(VINR_BUILD_EXT)" = 0 || command -v $${CXX:-c++} >/dev/null || { echo >&2 \
	"no C++ compiler: install one (GCC or Clang), name it by CXX, or set VINR_BUILD_EXT=0 to build without the extension"; \
	exit 1; }

$(VENV)/.pip-$(PIP_VERSION):
	@if ! $(RUN) -c '' 2>/dev/null; then \
	    command -v "$(PYTHON)" >/dev/null \
	        || { echo "$(PYTHON) not found: name a Python 3.10 to 3.13, as in: make PYTHON=python3.12" >&2; exit 1; }; \
	    "$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	        || { echo "$(PYTHON) is $$("$(PYTHON)" -V 2>&1), but Python 3.10 to 3.13 is needed:" \
	             "name one, as in: make PYTHON=python3.12" >&2; exit 1; }; \
	    "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	        || { echo "$(PYTHON) lacks the venv module: install it (Debian, Ubuntu: the package python3-venv)" >&2; exit 1; }; \
	    echo "making $(VENV) with $$("$(PYTHON)" -V)"; \
	    "$(PYTHON)" -m venv --clear $(VENV); \
	fi
	@$(RUN) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	    || { echo "$(VENV) holds $$($(RUN) -V), but Python 3.10 to 3.13 is needed: remove it (make distclean)" >&2; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip
	$(PIP) install --quiet pip==$(PIP_VERSION)
	@touch $@

$(VENV)/.run: pyproject.toml $(VENV)/.pip-$(PIP_VERSION)
	$(PIP) install --quiet --group build --group run
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.run
	$(PIP) install --quiet --group build --group run --group test
	@touch $@

# Beside the newest one, not in place of it: first on PYTHONPATH of the processes that compile by it.
$(VENV)/.triton-oldest: pyproject.toml $(VENV)/.run
	rm -rf $(OLDEST_TRITON)
	$(PIP) install --quiet --no-deps --target $(OLDEST_TRITON) --group triton-oldest
	@touch $@

$(VENV)/.lint: pyproject.toml $(VENV)/.run
	$(PIP) install --quiet --group build --group run --group lint
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.run
	$(PIP) install --quiet --group build --group run --group bench
	@touch $@

$(VENV)/.flags: $(VENV)/.pip-$(PIP_VERSION) FORCE
	@echo '$(BUILD)' | cmp -s - $@ || echo '$(BUILD)' > $@

# An extension of an earlier build must not outlive it. The warning that is silenced says that a folder with the package's
# name may be imported instead of the installed one: here both are the same folder.
$(VENV)/.built: $(SOURCES) $(VENV)/.run $(VENV)/.flags
	rm -f vinr_engine/_C.*
	PYTHONWARNINGS="ignore:Editable installation" $(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
