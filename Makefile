# Every target sets up .venv by itself when it is missing or when what it was made from has changed.
PYTHON ?= python3
SUITE ?= skeleton
RUN ?= runs/shipped
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# One thread per process: small models lose time to threads, and tests run in two processes.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check bench broker weights clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(READY) ## ours beside six rules on a real junction; ends in a page that it names
	$(BIN)/iotlam demo traffic

test: $(READY) broker ## all tests
	$(TEST)

test-fast: $(READY) ## the tests that take seconds
	$(TEST) -m "not slow"

check: $(READY) ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## measure one suite: make bench SUITE=skeleton
	$(BIN)/iotlam bench $(SUITE)

weights: $(READY) ## train decoder, traffic policies and the model of faults from nothing: hours; started again, it resumes
	$(BIN)/iotlam traffic train-lanes --out $(RUN)/lanes
	mkdir -p apps/iotlam_traffic/weights/lanes
	cd $(RUN)/lanes && cp lanes.safetensors run.json metrics.jsonl $(CURDIR)/apps/iotlam_traffic/weights/lanes/
	$(BIN)/iotlam pretrain nano --out iotlam/decoder/weights/nano --work $(RUN)
	$(BIN)/iotlam pretrain nano-moe --out iotlam/decoder/weights/nano-moe --work $(RUN) --steps 4000
	$(BIN)/iotlam traffic train --out $(RUN)/traffic
	cd $(RUN)/traffic && cp config.json adapter_config.json adapter_model.safetensors iotlam.safetensors README.md \
		metrics.jsonl $(CURDIR)/apps/iotlam_traffic/weights/
	$(BIN)/iotlam faults train --out $(RUN)/faults
	cd $(RUN)/faults && cp config.json adapter_config.json adapter_model.safetensors iotlam.safetensors README.md \
		run.json metrics.jsonl $(CURDIR)/apps/iotlam_faults/weights/

broker: ## install Mosquitto where that is possible; tests that need it are skipped without it
	@PATH=$$PATH:/usr/sbin command -v mosquitto > /dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && apt-get -qq update \
		&& DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends mosquitto > /dev/null; } \
		|| echo "no Mosquitto: tests over a broker are skipped; to run them: apt-get install mosquitto"

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
