# Two commands matter: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# foreign libraries whose pins no environment of ours can keep; laid over it by tests that need them
PEERS := .peers/kfp/.installed .peers/ml-metadata/.installed

.PHONY: setup demo test test-all check bench bench-tracking bench-pipelines bench-serving docs lock clean

$(STAMP): requirements.lock pyproject.toml hatch_build.py $(wildcard native/*.[ch])
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q $(VENV)/lib src || true
	touch $(STAMP)

.peers/%/.installed: locks/%.lock | $(STAMP)
	rm -rf .peers/$*
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --target .peers/$* -r locks/$*.lock
	touch $@

setup: $(STAMP)  ## install the locked dependencies and Rung itself into .venv

demo: $(STAMP)  ## run the flights story: DEMO_ARGS="--exit --json out.json"
	$(BIN)/rung demo flights $(DEMO_ARGS)

test: $(STAMP) $(PEERS)  ## the whole suite but the long sweeps
	scripts/system-packages
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow" $(TEST_ARGS)

test-all: $(STAMP) $(PEERS)  ## everything, long sweeps included
	scripts/system-packages
	$(BIN)/python -m pytest -n 2 --dist loadgroup --hypothesis-profile=search $(TEST_ARGS)

check: $(STAMP)  ## style, types, floors, sizes
	$(BIN)/ruff check src tests benchmarks examples scripts
	$(BIN)/ruff format --check src tests benchmarks examples scripts
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python scripts/sizes.py
	$(BIN)/python scripts/changelog.py check

bench: $(STAMP)  ## measured claims, with versions
	$(BIN)/python -m benchmarks

bench-tracking: $(STAMP)  ## tracking beside MLflow's own server: BENCH_ARGS="--full --json out.json"
	scripts/system-packages
	$(BIN)/python -m benchmarks.tracking $(BENCH_ARGS)

bench-pipelines: $(STAMP)  ## pipelines beside Metaflow, ZenML, Dagster and KFP's local runner: BENCH_ARGS="--rounds 9"
	$(BIN)/python -m benchmarks.pipelines $(BENCH_ARGS)

bench-serving: $(STAMP)  ## serving beside MLServer, KServe, LitServe, BentoML, MLflow and Triton: BENCH_ARGS="--passes 5"; needs wrk
	$(BIN)/python -m benchmarks.serving $(BENCH_ARGS)

docs: $(STAMP)  ## run every snippet of the docs
	$(BIN)/python -m pytest tests/docs $(TEST_ARGS)

lock: $(STAMP)  ## resolve the dependencies anew; needs uv
	uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 -o requirements.lock
	$(BIN)/python scripts/peer_locks.py

clean:  ## remove what was built
	rm -rf $(VENV) .peers build dist .mypy_cache .ruff_cache demo-project
