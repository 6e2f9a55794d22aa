# Everything a newcomer types. Needs Python 3.11 or later, git and make; the rest goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo setup test check bench web guide lock clean

demo: setup  ## embed the documentation of Python's standard library, search it, print the hits
	$(BIN)/python examples/demo.py

setup: $(VENV)/.ready  ## make .venv with everything, pinned

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Umekomi needs Python 3.11 or later; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Setting up .venv (some minutes the first time) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

# Four processes, also on fewer cores, as many tests wait for servers. The tests of a file stay together and share its servers.
# A process that dies ends the run: pytest-xdist can wait forever for the tests of one that it has replaced.
# One thread of OpenMP and BLAS in each process, because threads of several processes wait actively for each other.
test: export OMP_NUM_THREADS ?= 1
test: setup  ## every test that needs no outside server; those that need model files skip where there are none
	$(BIN)/python -m pytest -n 4 --dist loadfile --max-worker-restart 0

check: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## print the figures of BENCHMARKS.md; sets up its peers in .venv-bench first
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt --editable .
	$(PYTHON) -m venv .venv-infinity
	.venv-infinity/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/infinity-requirements.txt
	$(PYTHON) -m venv .venv-optimum
	.venv-optimum/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/optimum-requirements.txt
	.venv-bench/bin/python benchmarks/encode.py --python infinity=.venv-infinity/bin/python \
		--python st-openvino=.venv-optimum/bin/python --python st-onnx-int8=.venv-optimum/bin/python
	$(BIN)/python benchmarks/roofline.py
	$(BIN)/python benchmarks/padding.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/serve.py --peer .venv-infinity/bin/infinity_emb
	$(BIN)/python benchmarks/serve.py --only single
	$(BIN)/python benchmarks/serve.py --only overload
	.venv-bench/bin/python benchmarks/exact.py --rows 1e6 --model all-MiniLM-L6-v2
	.venv-bench/bin/python benchmarks/exact.py --rows 1e5 --model text-embedding-ada-002
	$(BIN)/python benchmarks/opening.py

web:  ## rebuild the explorer's page in src/umekomi/explore/web after a change in web/; the build is committed
	@command -v npm >/dev/null || { echo "make web needs Node.js 20.19 or later with npm. Only changes in web/ need it: the built page is committed."; exit 1; }
	cd web && npm ci --no-audit --no-fund && npm test && npm run build

guide: setup  ## run every use case of the guide on its data; rewrite docs/guide.md, the figures and the pictures of the use cases' pages
	$(BIN)/python benchmarks/guide.py
	$(BIN)/python benchmarks/guide_pages.py
	$(BIN)/python benchmarks/distances.py

lock: setup  ## write the versions of .venv to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) .venv-bench .venv-infinity .venv-optimum demo build dist
