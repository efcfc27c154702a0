# Each target makes .venv itself if it is missing.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
TOOLS := build/tools
NAME ?= picsart
LARGE ?= -S folds.epochs=4 -S folds.batch_size=16 -S folds.at_once=1 -S train.epochs=24 -S train.patience=12 -S benchmark.max_seconds=60
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export NO_ALBUMENTATIONS_UPDATE := 1
export DVC_NO_ANALYTICS := true

.DEFAULT_GOAL := help
.PHONY: help run test torture picsart confirm ui experiments review demo gpu-check scale audit-deps lock format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Not compiled: most modules are never imported, and the others are compiled when they are.
$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("personseg needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-compile -r requirements.txt
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	touch $@

run: $(STAMP) ## the whole road, as params.yaml says (default: the generated sample)
	dvc repro

test: $(STAMP) ## ruff, mypy and pytest
	ruff check .
	ruff format --check .
	mypy
	python -m tests.every

torture: $(STAMP) ## kill the road anywhere, fill the disk, fuzz for minutes: hours; figures in results/torture.json
	@for file in tests/faults/test_*.py; do echo "$$file"; PERSONSEG_FUZZ_SECONDS=300 python -m pytest "$$file" || exit 1; done
	python -m tests.faults.kill

picsart: $(STAMP) ## the whole road on your archive: make picsart DATA=path/to/archive.zip; record in results/NAME
	@test -n "$(DATA)" || { echo "error: say where the data is: make picsart DATA=path/to/archive.zip"; exit 1; }
	@test -e "$(DATA)" || { echo "error: nothing at $(DATA); give the path of the archive or folder"; exit 1; }
	dvc exp run -S data.name=$(NAME) -S 'data.source=$(realpath $(DATA))' $(LARGE)
	python -m personseg.record results/$(NAME)

confirm: $(STAMP) ## the same on other splits, beside MediaPipe: make confirm DATA=... MEDIAPIPE=selfie_segmentation.tflite
	@test -e "$(DATA)" -a -f "$(MEDIAPIPE)" || { echo "error: say where they are: make confirm DATA=archive.zip MEDIAPIPE=selfie_segmentation.tflite"; exit 1; }
	python -m benchmarks.split_seeds --data "$(DATA)" --name "$(NAME)" --mediapipe "$(MEDIAPIPE)" $(LARGE)

ui: $(STAMP) ## compare runs in MLflow, on http://127.0.0.1:5000
	mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1

# DVC's own table has every metric, over a hundred columns.
experiments: $(STAMP) ## the experiments so far: IoU, and the params that differ
	@dvc exp show --only-changed --drop '^(?!(model|teacher)\.|train\.(?!images|dice|.*iou))' --keep '^(Experiment|(val|test)\.(iou|boundary_iou))$$'

review: $(STAMP) ## look at your masks, sort and mend them, on http://127.0.0.1:8600
	python -m stages.review

demo: $(STAMP) ## try the model in the browser, on http://127.0.0.1:7860
	personseg demo

gpu-check: $(STAMP) ## on a machine with an NVIDIA GPU: run every GPU row and print the table
	python -m benchmarks.gpu_check

audit-deps: $(TOOLS) ## ask the public list of known vulnerabilities about every pinned package
	$(TOOLS)/bin/pip-audit --requirement requirements.txt --no-deps --disable-pip

lock: $(TOOLS) ## requirements.lock anew: requirements.txt with hashes
	$(TOOLS)/bin/uv pip compile --quiet --no-config --no-deps --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-emit-index-url --custom-compile-command "make lock" requirements.txt -o requirements.lock

$(TOOLS):
	$(PYTHON) -m venv $@ && $@/bin/pip install --disable-pip-version-check --quiet pip-audit uv

scale: $(STAMP) ## install requirements-scale.txt and prove what docs/scale.md says: minutes; Spark wants Java 17
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -r requirements-scale.txt -c requirements.txt
	python -m tests.every tests/scale

format: $(STAMP) ## let ruff order and format the code
	ruff check --fix .
	ruff format .

clean: ## remove what the road made (not .venv, not the cache)
	rm -rf data/raw data/jpg data/folds data/audit data/clean data/splits data/taught data/evaluation data/*.json models plots report logs .resume
