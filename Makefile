# make demo   set up, fit on good solar cells, run the line, show what it found; the dashboard stays until Ctrl-C
# make test   set up, run all tests (as root on Debian: with the packages of tests/debian-packages.txt)
# make check  lint and types (the page's scripts too)
# make test-gpu   on a machine with an NVIDIA card: the tests that need one, then benchmarks/gpu.py
# make campaign   kill, fuzz, wire, http, hosts, disk, soak one after the other (CAMPAIGN=kill SECONDS=600 SEED=7 COUNT=100)
# make docs   the documentation as a site in site/
# make setup  .venv with the command .venv/bin/patchline

PYTHON ?= python3
# A machine with an NVIDIA driver searches with faiss-gpu; every other one with faiss-cpu beside OpenVINO.
EXTRAS ?= $(if $(wildcard /dev/nvidiactl),gpu,cpu),int8,genicam,bench,dashboard,demo,dev,docs

.PHONY: setup demo test test-gpu check campaign docs clean
setup: .venv/.ready

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "PatchLine needs Python 3.11 or newer: make setup PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $@
	@echo "ready: .venv/bin/patchline"

demo: setup
	.venv/bin/patchline demo

test: setup
	tests/install-debian-packages
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile

test-gpu: setup
	.venv/bin/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("no CUDA device: nothing to test")'
	.venv/bin/python -m pytest -rs tests/model tests/training/test_quantize.py tests/test_benchmarks.py
	.venv/bin/python benchmarks/gpu.py

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	tests/page/check

CAMPAIGN ?= all
SECONDS ?= 600
campaign: setup
	PYTHONPATH=tests:benchmarks:. .venv/bin/python -m campaigns $(CAMPAIGN) --seconds $(SECONDS) \
		$(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT))

docs: setup
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

clean:
	rm -rf .venv demo site
