# Two commands do everything on a machine that has Python >= 3.11, git and make: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MAPPED := configs dataset_scripts modeling processors

.PHONY: demo test test-slow lint typecheck format libraries clean

demo: libraries $(STAMP)
	$(BIN)/cineforge demo

test: libraries lint
	$(BIN)/pytest -q -n 2 -m "not slow"

test-slow: libraries $(STAMP)
	$(BIN)/pytest -q -m slow

lint: $(STAMP) typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy cannot follow package-dir, so it reads a copy laid out as in the wheel.
typecheck: $(STAMP)
	@rm -rf build/typecheck && mkdir -p build/typecheck
	@cp -r cineforge_hf build/typecheck/ && cp -r $(MAPPED) build/typecheck/cineforge_hf/
	cd build/typecheck && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p cineforge_hf

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv installs several times faster than pip; bytecode is compiled once so that short-lived workers start quickly.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

# torchcodec, which decodes the Audio and Video columns of datasets, loads FFmpeg's shared libraries.
libraries:
	@if ! ldconfig -p 2>/dev/null | grep -q 'libavcodec\.so' && ! command -v ffmpeg >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ffmpeg; \
	  else \
	    echo "FFmpeg's libraries are needed: sudo apt-get install ffmpeg   (macOS: brew install ffmpeg)"; exit 1; \
	  fi; \
	fi

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
