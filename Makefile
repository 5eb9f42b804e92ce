# `make` prints what there is, in the order in which data flows. Everything runs in the project's own $(VENV).
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
SHELL := /bin/sh

# As scoring/no_telemetry.py, for commands that load none of our rooms.
export BENTOML_DO_NOT_TRACK := True
export DO_NOT_TRACK := true
export ITERATIVE_DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export ORT_DISABLE_TELEMETRY := 1

PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 3000
PY := $(VENV)/bin/python
UV := $(or $(shell command -v uv),$(VENV)/bin/uv)
INSTALLED := $(VENV)/.installed
ORDERS_FILE := $(or $(ORDERS_PATH),var/data/orders.parquet)
FEATURES := var/stamps/features-$(shell date -u +%Y-%m-%d)
APPLIED := var/stamps/applied
TRAINED := var/stamps/trained
MODEL_TAG := $(or $(MODEL_TAG_PATH),var/model_tag)
MAKES_FEATURES := feature_repo/transformations.py $(addprefix jobs/,build_features.py builds.py engines.py duckdb_engine.py spark_engine.py orders.py)
MAKE_ORDERS = $(PY) -m training data $(if $(ORDERS),--orders "$(ORDERS)") $(if $(SYNTHETIC),--synthetic "$(SYNTHETIC)") $(if $(SEED),--seed "$(SEED)") $(if $(REFERENCE_DATE),--reference-date "$(REFERENCE_DATE)")
COMPOSE := docker compose --file deploy/compose.yaml
COMPOSED := $(CURDIR)/var/compose
DEFINITIONS := $(filter-out feature_repo/transformations.py,$(wildcard feature_repo/*.py)) feature_repo/feature_store.yaml

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Start here
.PHONY: run up rollout down
run: port-free $(MODEL_TAG) materialize serve ## everything up to a served prediction; prints a curl that works
up: $(INSTALLED) ## all of it in containers, by docker compose (docs/operations.md) [PORT=3000]
	@docker compose version > /dev/null 2>&1 || { echo "error: docker compose is needed; without it: make run" >&2; exit 1; }
	@$(PYTHON) deploy/make_secrets.py deploy/secrets
	@$(MAKE) --no-print-directory jobs-image BUILDER=docker
	@$(COMPOSE) up --detach --wait redis mlflow
	@[ -f $(COMPOSED)/model_tag ] || $(COMPOSE) run --rm jobs python deploy/jobs/schedule.py first
	@$(MAKE) --no-print-directory composed-image && SERVICE_IMAGE=$$(cat $(COMPOSED)/image) PORT=$(PORT) $(COMPOSE) up --detach --wait
	@echo "Ready. Ask it:"; echo "  curl -s http://127.0.0.1:$(PORT)/predict -H 'Authorization: Bearer $$(cat deploy/secrets/api_key)' -H 'Content-Type: application/json' -d '{\"customer_id\": \"00042\"}'"
rollout: $(INSTALLED) ## the champion of compose's MLflow in a new image, one replica after the other
	@$(MAKE) --no-print-directory composed-image && SERVICE_IMAGE=$$(cat $(COMPOSED)/image) deploy/rollout.sh
down: ## stop what make up or make redis started; its data stay
	@if [ -x $(PY) ]; then $(PY) -m jobs redis-down; fi
	@if [ -d $(COMPOSED) ]; then $(COMPOSE) down; fi

composed-image:  # MLflow's server is the one of compose, and nothing of what `make run` made is touched
	@mkdir -p $(COMPOSED) && MLFLOW_TRACKING_URI=http://127.0.0.1:$(or $(MLFLOW_PORT),5000) MODEL_TAG_PATH=$(COMPOSED)/model_tag $(MAKE) --no-print-directory release BUILDER=docker
	@$(PY) -c 'import bentoml; print(bentoml.bentos.get("churn:latest").tag)' > $(COMPOSED)/image

## Environment
.PHONY: install lock
install: $(INSTALLED) ## the environment, exactly as locked
lock: $(INSTALLED) ## renew requirements/*.txt from pyproject.toml
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --group dev -o requirements/dev.txt
	for group in service training jobs spark jobs-image; do \
		$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--group $$group -c requirements/dev.txt -o requirements/$$group.txt || exit 1; \
	done

# A stamp newer than the lock: nothing ever runs against an old environment.
$(INSTALLED): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or later is needed; set PYTHON=")'
	@[ -x $(PY) ] || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@[ -x "$(UV)" ] || { echo "bringing uv"; $(PY) -m pip install --quiet "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements/dev.txt)"; }
	@echo "installing the locked packages into $(VENV)"
	@$(UV) pip sync --quiet --python $(PY) --require-hashes requirements/dev.txt
	@touch $@

## Data → features
.PHONY: data features
data: $(INSTALLED) ## fetch CDNOW [REFERENCE_DATE=2026-01-31], take your own [ORDERS=path.csv|parquet], or make some [SYNTHETIC=5000000] [SEED=1]
	@$(MAKE_ORDERS)
features: $(ORDERS_FILE) ## orders → feature rows in the offline store [ENGINE=duckdb|spark] [FULL=1]
	@$(PY) -m jobs features $(if $(ENGINE),--engine "$(ENGINE)") $(if $(FULL),--full) && mkdir -p var/stamps && rm -f var/stamps/features-* && touch $(FEATURES)

$(ORDERS_FILE): $(ORDERS) | $(INSTALLED)
	@echo "orders:"; $(MAKE_ORDERS)
$(FEATURES): $(ORDERS_FILE) $(MAKES_FEATURES)
	@echo "features:"; $(MAKE) --no-print-directory features

## Feast
.PHONY: apply check-contracts redis materialize feast-env
apply: $(INSTALLED) ## register the definitions of feature_repo/
	@$(PY) -m jobs apply && mkdir -p var/stamps && touch $(APPLIED)
check-contracts: $(INSTALLED) ## would the definitions of feature_repo/ break a live model? [CONTRACTS="answer-of-get-model.json …"]
	@unset FEAST_FS_YAML_FILE_PATH OFFLINE_STORE_TYPE; scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && export FEAST_REGISTRY="$$scratch/registry.db" && \
		$(PY) -m jobs apply && $(PY) -m training check-contracts $(CONTRACTS)
redis: $(INSTALLED) ## start the embedded Redis, or reuse it; nothing where REDIS_URL is set
	@$(PY) -m jobs redis-up
materialize: redis $(FEATURES) $(APPLIED) ## offline store → Redis: what changed [FULL=1] [UNTIL=2026-01-31T00:00] [REPLACE=1]
	@echo "materialize:"; $(PY) -m jobs materialize $(if $(UNTIL),--until "$(UNTIL)") $(if $(FULL),--full) $(if $(REPLACE),--replace)

feast-env: $(INSTALLED) ## what feast's own commands need: eval "$(make -s feast-env)"
	@$(PY) -m jobs feast-env

$(APPLIED): $(DEFINITIONS) | $(INSTALLED)
	@echo "apply:"; $(MAKE) --no-print-directory apply

## Model
.PHONY: train import-model retrain promote rollback challenge models
train: $(FEATURES) $(APPLIED) ## train, evaluate, register, promote through the gate
	@$(PY) -m training train && touch $(TRAINED)
import-model: $(INSTALLED) ## MLflow registry → BentoML model store [MODEL=champion]
	@$(PY) -m training import-model $(if $(MODEL),--model "$(MODEL)")
retrain: $(INSTALLED) $(APPLIED) ## new data → features → challenger, through the gate; nothing without new data, but for [FORCE=1]
	@$(MAKE) --no-print-directory features && $(PY) -m training retrain $(if $(FORCE),--force)
promote: $(INSTALLED) ## make a version champion, through the gate [VERSION=challenger] [FORCE=1] [REASON="…"]
	@$(PY) -m training promote $(if $(VERSION),--version "$(VERSION)") $(if $(FORCE),--force) $(if $(REASON),--reason "$(REASON)")
rollback: $(INSTALLED) ## bring back an earlier champion, byte for byte: REASON="…" [TO=ledger entry]
	@$(PY) -m training rollback --reason "$(REASON)" $(if $(TO),--to "$(TO)")
challenge: $(INSTALLED) ## a second model beside the champion: MODE=shadow|canary|off [VERSION=challenger] [SHARE=0.1]
	@$(PY) -m training challenge --mode "$(MODE)" $(if $(VERSION),--version "$(VERSION)") $(if $(SHARE),--share "$(SHARE)")
models: $(INSTALLED) ## versions, aliases, verdicts, figures, and the ledger of what was moved
	@$(PY) -m training models

$(TRAINED): $(ORDERS_FILE) $(wildcard training/*.py contract/*.py) feature_repo/transformations.py $(APPLIED) | $(FEATURES)
	@echo "train:"; $(MAKE) --no-print-directory train
$(MODEL_TAG): $(TRAINED)
	@echo "import:"; $(MAKE) --no-print-directory import-model

## Serve
.PHONY: serve api-key
serve: $(INSTALLED) port-free ## the service on [HOST=127.0.0.1] [PORT=3000]; Ctrl-C ends it
	@$(PY) -m jobs first-prediction --url http://$(HOST):$(PORT) & exec $(VENV)/bin/bentoml serve --host $(HOST) --port $(PORT)

port-free:  # said before the minutes of training, not after
	@$(PYTHON) -c 'import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); \
	e = s.connect_ex(("$(HOST)", $(PORT))); \
	sys.exit(e == 0 and "error: $(HOST):$(PORT) is taken; choose another: make $(or $(MAKECMDGOALS),serve) PORT=3001")'

api-key: $(INSTALLED) ## a new API key, shown once: NAME=shop [KEYS_FILE=.api_keys]
	@$(PY) -m service new-key "$(NAME)" --file "$(or $(KEYS_FILE),.api_keys)"

## Package (docs/operations.md)
.PHONY: build containerize jobs-image image-size sbom
build: $(MODEL_TAG) ## a Bento with the pinned model, labelled with version and commit
	@$(VENV)/bin/bentoml build --label "version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
		--label "commit=$$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null)"
containerize: $(INSTALLED) ## an OCI image of a built Bento [BENTO=churn:latest] [BUILDER=docker|podman|buildah] [OPTIONS="--network=host"]
	@$(PY) -m deploy.image.containerize --bento "$(BENTO)" --builder "$(BUILDER)" -- $(OPTIONS)
jobs-image: $(INSTALLED) ## the image of jobs, training and MLflow's server: churn-jobs:latest [BUILDER=…] [OPTIONS=…]
	@$(PY) -m deploy.image.jobs_image --builder "$(BUILDER)" -- $(OPTIONS)
image-size: $(INSTALLED) ## what takes up the image's room [BENTO=…] [BUILDER=…]
	@$(PY) -m deploy.image.containerize --size-only --bento "$(BENTO)" --builder "$(BUILDER)"
sbom: $(INSTALLED) ## the image's software bill of materials, CycloneDX → var/sbom.json [BENTO=…] [BUILDER=…] [OUT=…]
	@$(PY) -m deploy.image.sbom --bento "$(BENTO)" --builder "$(BUILDER)" --out "$(or $(OUT),var/sbom.json)"

## Ship
.PHONY: release scan push deploy chart
release: $(INSTALLED) ## the registry's champion in an image, with its bill of materials
	@$(MAKE) --no-print-directory import-model && $(MAKE) --no-print-directory --old-file=$(MODEL_TAG) build containerize sbom
scan: $(INSTALLED) ## known vulnerabilities of the packages in the image; asks the package index
	@$(VENV)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/service.txt
push: $(INSTALLED) ## both images to their registry, as REGISTRY_USER with REGISTRY_PASSWORD if set: IMAGE=registry/churn-service:v1.0.0 JOBS_IMAGE=…
	@$(PY) -m deploy.image.push --image "$(IMAGE)" --jobs-image "$(JOBS_IMAGE)" --bento "$(BENTO)" --builder "$(BUILDER)"
deploy: ## both on a cluster, with helm: IMAGE=… JOBS_IMAGE=… VALUES=values.yaml [RELEASE=churn-service] [NAMESPACE=churn]
	@for given in "IMAGE=$(IMAGE)" "JOBS_IMAGE=$(JOBS_IMAGE)"; do case "$$given" in *@*) echo "error: $$given: a tag, not a digest" >&2; exit 1;; \
		*=*/*:*) ;; *) echo "error: $$given is not registry/repository:tag" >&2; exit 1;; esac; done
	@[ -f "$(VALUES)" ] || { echo "error: VALUES=$(VALUES): no such file" >&2; exit 1; }
	@image="$(IMAGE)" jobs="$(JOBS_IMAGE)"; helm upgrade --install "$(or $(RELEASE),churn-service)" deploy/helm/churn-service \
		--namespace "$(or $(NAMESPACE),churn)" --values "$(VALUES)" --wait --timeout 10m \
		--set "image.repository=$${image%:*},image.tag=$${image##*:},image.digest=" \
		--set "jobs.image.repository=$${jobs%:*},jobs.image.tag=$${jobs##*:},jobs.image.digest="
chart: $(INSTALLED) ## the Helm chart: linted, rendered, validated, packed → var/chart
	@$(PY) -m pytest -q $(wildcard tests/integration/deploy/test_chart*.py)
	@mkdir -p var/chart && $(PY) -c 'import helm_python; print(helm_python.package("deploy/helm/churn-service", destination="var/chart"))'

## Score without HTTP
.PHONY: score-batch score-stream
score-batch: $(MODEL_TAG) ## everybody's prediction as Parquet [AS_OF=2026-01-31T00:00] [OUT=var/predictions] [CUSTOMERS=file.csv] [ENGINE=spark]
	@$(PY) -m jobs score-batch --out "$(or $(OUT),var/predictions)" $(if $(AS_OF),--as-of "$(AS_OF)") \
		$(if $(CUSTOMERS),--customers "$(CUSTOMERS)") $(if $(ENGINE),--engine "$(ENGINE)")
score-stream: $(MODEL_TAG) redis ## follow new orders [INCOMING=var/stream/incoming] [OUT=var/stream] [SOURCE=json|parquet|kafka] [ONCE=1]; Ctrl-C ends
	@$(PY) -m jobs score-stream --incoming "$(or $(INCOMING),var/stream/incoming)" --out "$(or $(OUT),var/stream)" \
		$(if $(SOURCE),--source "$(SOURCE)") $(if $(ONCE),--once)

## Look after what was answered
.PHONY: why publish-log audit-skew drift labels live-quality compare-live
why: $(INSTALLED) ## a logged decision, rebuilt: REQUEST=<request_id> [ROW=0] [SINCE=2026-01-31] [UNTIL=2026-02-01]
	@$(PY) -m jobs why --request "$(REQUEST)" $(if $(ROW),--row "$(ROW)") $(if $(SINCE),--since "$(SINCE)") $(if $(UNTIL),--until "$(UNTIL)")
publish-log: $(INSTALLED) ## inference log → Feast's log of served features, each file once [SINCE=2026-01-31] [UNTIL=2026-02-01]
	@$(PY) -m jobs publish-log $(if $(SINCE),--since "$(SINCE)") $(if $(UNTIL),--until "$(UNTIL)")
audit-skew: $(INSTALLED) ## what was served against the offline store, value by value → var/skew [SINCE=2026-01-31] [UNTIL=…] [SAMPLE=10000] [OUT=…] [ID_KEY_FILE=…] [MAX_UNEXPLAINED=0] [MAX_FAULTS=0] [MAX_MOVED=0.01]
	@$(PY) -m jobs audit-skew $(if $(SINCE),--since "$(SINCE)") $(if $(UNTIL),--until "$(UNTIL)") $(if $(SAMPLE),--sample "$(SAMPLE)") \
		$(if $(OUT),--out "$(OUT)") $(if $(ID_KEY_FILE),--id-key-file "$(ID_KEY_FILE)") \
		$(if $(MAX_UNEXPLAINED),--max-unexplained "$(MAX_UNEXPLAINED)") $(if $(MAX_FAULTS),--max-faults "$(MAX_FAULTS)") $(if $(MAX_MOVED),--max-moved "$(MAX_MOVED)")
drift: $(INSTALLED) ## live inputs and scores against training → var/drift [SINCE=2026-01-31] [UNTIL=…] [OUT=…]
	@$(PY) -m jobs drift $(if $(SINCE),--since "$(SINCE)") $(if $(UNTIL),--until "$(UNTIL)") $(if $(OUT),--out "$(OUT)")
labels: $(INSTALLED) ## who of the answered had left, once due → var/labels.parquet [DAYS=90] [SINCE=2026-01-31] [UNTIL=…] [OUT=…] [ID_KEY_FILE=…]
	@$(PY) -m jobs labels --out "$(or $(OUT),var/labels.parquet)" $(if $(DAYS),--days "$(DAYS)") $(if $(SINCE),--since "$(SINCE)") \
		$(if $(UNTIL),--until "$(UNTIL)") $(if $(ID_KEY_FILE),--id-key-file "$(ID_KEY_FILE)")
live-quality: $(INSTALLED) ## answers held against labels, by model and week → var/live_quality [LABELS=var/labels.parquet] [SINCE=2026-01-31] [UNTIL=…] [OUT=…] [MAX_AUC_LOSS=0.05]
	@$(PY) -m jobs live-quality --labels "$(or $(LABELS),var/labels.parquet)" $(if $(SINCE),--since "$(SINCE)") $(if $(UNTIL),--until "$(UNTIL)") \
		$(if $(OUT),--out "$(OUT)") $(if $(MAX_AUC_LOSS),--max-auc-loss "$(MAX_AUC_LOSS)")
compare-live: $(INSTALLED) ## champion and challenger on rows that both scored → var/live_quality [LABELS=file.parquet|csv] [SINCE=2026-01-31] [UNTIL=…] [OUT=…]
	@$(PY) -m jobs compare-live $(if $(LABELS),--labels "$(LABELS)") $(if $(SINCE),--since "$(SINCE)") $(if $(UNTIL),--until "$(UNTIL)") \
		$(if $(OUT),--out "$(OUT)")

## Measure
.PHONY: bench soak bench-beside bench-capacity bench-jobs bench-log drift-power
bench: $(MODEL_TAG) materialize ## beside what else could be run → docs/performance.md; 13 quiet minutes [ROUNDS=3] [SECONDS=2]
	@$(PY) -m benchmarks online --rounds $(or $(ROUNDS),3) --seconds $(or $(SECONDS),2)
	@$(PY) -m benchmarks breakdown && $(PY) -m benchmarks report
soak: $(MODEL_TAG) materialize ## 200,000 requests through one worker → docs/performance.md
	@$(PY) -m benchmarks soak && $(PY) -m benchmarks report
bench-beside: $(MODEL_TAG) materialize ## what the inference log and a challenger cost → docs/performance.md; five quiet minutes
	@$(PY) -m benchmarks beside && $(PY) -m benchmarks report
bench-capacity: $(MODEL_TAG) materialize ## what a replica and Redis take → docs/operations.md; one quiet minute
	@$(PY) -m benchmarks capacity && $(PY) -m benchmarks report
bench-jobs: $(MODEL_TAG) ## the jobs beside stock tools → docs/performance.md; 25 quiet minutes [SIZES=200000,1000000] [LARGEST=5000000]
	@$(PY) -m benchmarks jobs $(if $(SIZES),--sizes "$(SIZES)") $(if $(LARGEST),--largest "$(LARGEST)") && $(PY) -m benchmarks report
bench-log: $(MODEL_TAG) ## what the inference log and the jobs that read it cost → docs/inference-log.md; three quiet minutes
	@$(PY) -m benchmarks log && $(PY) -m benchmarks report
drift-power: $(MODEL_TAG) ## false alarms and power of the test of drift → docs/monitoring.md; three minutes
	@$(PY) -m benchmarks drift-power && $(PY) -m benchmarks report

## Quality
.PHONY: check ci lint format test test-unit faults clean
check: lint test ## what CI runs
ci: ## the same on a bare machine, as root: Debian's packages first
	@.ci/run
lint: $(INSTALLED) ## style, types, import rules, workflows
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports
	@$(VENV)/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yaml && $(VENV)/bin/zizmor --quiet --offline --pedantic .github
format: $(INSTALLED) ## rewrite to style
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .
test: $(INSTALLED) ## all tests [TESTS=tests/unit]
	@$(PY) -m $(if $(TESTS),pytest $(TESTS),tests.run_all)
test-unit: $(INSTALLED) ## the fast ones
	@$(PY) -m pytest tests/unit
faults: $(INSTALLED) ## servers that fail under load → docs/reliability.md; five minutes
	@FAULTS_MEASUREMENTS=$(CURDIR)/var/faults.json $(PY) -m pytest tests/faults && $(PY) -m tests.faults.report var/faults.json
clean: down ## remove data, registries and stamps; keeps the environment and the BentoML store
	rm -rf var
