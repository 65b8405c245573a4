# Two commands for a newcomer: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Nothing that runs here reports on anybody.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: demo tiny ui test recipes browser soak bench techniques check setup lock schemas

demo: setup  ## distil, evaluate, export, quantize, gate and package a real model (16 minutes on 2 cores, some 28 on older ones)
	$(BIN)/stillhouse run recipes/demo.yaml

tiny: setup  ## the same stages on a one-megabyte model (under 3 minutes)
	$(BIN)/stillhouse run recipes/tiny.yaml

PORT ?= 4200
ui: setup  ## Prefect's UI on this machine, with the deployments and a worker; Ctrl-C ends it
	$(BIN)/stillhouse ui --port $(PORT) $(if $(ACCELERATORS),--accelerators $(ACCELERATORS))

test: setup browser  ## what CI runs
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

recipes: setup  ## every technique's recipe, looked at with the real teacher and trained with a tiny one (some minutes)
	$(BIN)/python -m pytest -q -m slow tests/test_recipes.py

browser:  ## Chromium, for the tests that use the UI; where it cannot be installed they are skipped
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	(apt-get install -y chromium || (apt-get update && apt-get install -y chromium)) >/dev/null 2>&1 || \
	echo 'no Chromium, so the tests in a browser are skipped; on Debian: apt-get install chromium'

soak: setup  ## faults done to real servers and workers, about half an hour; what came of each goes into docs/soak.md
	SOAK_RESULT=docs $(BIN)/python -m pytest -q -m soak tests/faults

bench: setup  ## our speed and memory beside our peers', some hours with nothing else running; into docs/benchmarks
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.distillation_step --out docs/benchmarks/distillation_step.json
	$(BIN)/python -m benchmarks.distillation_step --rows 16 --repeats 2 --out docs/benchmarks/distillation_step_16.json
	$(BIN)/python -m benchmarks.capture_speed --out docs/benchmarks/capture_speed.json
	$(BIN)/python -m benchmarks.stored_targets benchmarks/starts.yaml --out docs/benchmarks/stored_targets.json
	$(BIN)/python -m benchmarks.student_starts benchmarks/starts.yaml --out docs/benchmarks/student_starts.json
	$(BIN)/python -m benchmarks.growing_work benchmarks/starts.yaml --out docs/benchmarks/growing_work.json
	$(BIN)/python -m benchmarks.gate_error_rates --out docs/benchmarks/gate_error_rates.json
	$(BIN)/python -m benchmarks.loss_memory --tokens 1024 2048 4096 --vocabularies 49152 128256 \
		--out docs/benchmarks/loss_memory.json

techniques: setup  ## every technique beside plain KL, three seeds: some hours; what has its record is not done again
	$(BIN)/python -m benchmarks.techniques --seeds 1 2 3
	$(BIN)/python -m benchmarks.techniques.finalists --seeds 1 2 3
	$(BIN)/python -m benchmarks.techniques.prompts --seeds 1 2 3
	$(BIN)/python -m benchmarks.techniques.prompts --precision fp32 --seeds 1 2 --out docs/benchmarks/techniques_prompts_fp32.json \
		--rows "plain KL" "the half most like the questions" "half of the other text, at random"
	$(BIN)/python -m benchmarks.several_teachers_synthetic --out docs/benchmarks/several_teachers_synthetic.json
	$(BIN)/python -m benchmarks.capacity_gap_synthetic --out docs/benchmarks/capacity_gap_synthetic.json
	$(BIN)/python -m benchmarks.reasoning_synthetic --out docs/benchmarks/reasoning_synthetic.json
	$(BIN)/python -m benchmarks.reasoning_synthetic --terms 5 --digits 1 --steps 800 --out docs/benchmarks/reasoning_synthetic_digits.json
	$(BIN)/python -m benchmarks.across_tokenizers recipes/techniques/cross-tokenizer.yaml --out docs/benchmarks/across_tokenizers.json
	$(BIN)/python -m benchmarks.continual recipes/techniques/continual.yaml --out docs/benchmarks/continual.json
	$(BIN)/python -m benchmarks.task_domain recipes/techniques/task.yaml --out docs/benchmarks/task_domain.json
	$(BIN)/python -m benchmarks.reasoning_students recipes/techniques/reasoning.yaml --out docs/benchmarks/reasoning_students.json

check: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Stillhouse needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch by itself first: pip then takes the build that is at hand instead of comparing every other.
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[compress,dask,dev]'
	$(BIN)/python -m stillhouse.data.archives
	touch $@

lock: setup  ## write the versions that are installed now into constraints.txt
	(head -n 2 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//') > constraints.new
	mv constraints.new constraints.txt

schemas: setup  ## publish the JSON Schemas of recipes and results
	$(BIN)/python -m flows.schemas
