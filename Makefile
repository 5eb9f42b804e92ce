# `make` prints what there is, in the order in which data flows. Everything runs in the project's own environment, VENV.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
SHELL := /bin/sh

# As scoring/no_telemetry.py, for commands that load none of our rooms.
export BENTOML_DO_NOT_TRACK := True
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export ORT_DISABLE_TELEMETRY := 1

# A value may hold what somebody else wrote: a request id comes from a client. So no value is written into a rule or a recipe.
# Recipes read it from their environment, "$$NAME", and forward it as "--option=$$NAME", which may begin with "-".
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 3000
ROUNDS ?= 3
SECONDS ?= 2
USE_CASE ?= training/churn
GOALS := $(MAKECMDGOALS)
VALUES_OF := ALSO AS_OF BASELINE BENTO BUILDER COMPLETE CONTRACTS DAYS DRY_RUN ENGINE ENTITIES EXTRA FEAST_REGISTRY FORCE FULL GOALS HOST ID_KEY_FILE IMAGE INCOMING JOBS_IMAGE KEY KEYS_FILE \
	LABELS LARGEST LINES MAX_AUC_LOSS MAX_FAULTS MAX_LOSS MAX_MOVED MAX_UNEXPLAINED MLFLOW_PORT MODE MODEL MODEL_TAG_PATH NAME NAMESPACE OFFLINE_STORE_DIR \
	OFFLINE_STORE_TYPE ONCE OPTIONS ORDERS ORDERS_PATH OUT OUTCOME_AFTER PORT PYTHON REASON REFERENCE_DATE RELEASE REPLACE REQUEST ROUNDS ROW SAMPLE SCORES SECONDS SEED SHARE SINCE SIZES \
	SOURCE STREAMED_ORDERS_DIR SYNTHETIC TABLE TAKE_OVER TARGET TASK TESTS TIME TO TRAINING_LABEL_DAYS UI_PORT UNTIL USE_CASE VALUES VENV VERSION ZONE
# A name that no target and no setting has is probably misspelt. Said here, before the next lines change the origin of names.
SETTINGS := BENTOML_% CHALLENGER_% FEAST_% INFERENCE_% JOBS_% KAFKA_% MATERIALIZE_% MLFLOW_% MODEL_% OTEL_% PG% PROMOTION_% REDIS_% REGISTRY_% SERVICE_% TRAINING_% %_TABLE
# These would do something else than was meant, for minutes or for good. What only a program knows can stand before make.
STOPPED := $(filter data erase init promote retrain run train,$(MAKECMDGOALS))
UNKNOWN := $(strip $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(filter-out $(VALUES_OF) $(SETTINGS),$(name)))))
$(if $(filter CUSTOMERS,$(UNKNOWN)),$(error CUSTOMERS is called ENTITIES now))
$(if $(and $(UNKNOWN),$(STOPPED)),$(error no target takes $(UNKNOWN), see make help; nothing was done. To pass it to a program, write $(firstword $(UNKNOWN))=… before make))
$(if $(UNKNOWN),$(warning no target takes $(UNKNOWN), see make help))
# make runs a $(shell …) in a value of its command line when it exports that value. This makes every value plain text before.
as_text = $(eval override $(1) := $$(value $(1)))$(eval export $(1))
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(call as_text,$(name))))
$(foreach name,$(VALUES_OF),$(if $(filter-out undefined override,$(firstword $(origin $(name)))),$(call as_text,$(name))))
MAKEOVERRIDES =

# The one rule that forwards variables as options. AS_OF becomes "--as-of=$$AS_OF" if it is set; OUT=folder is always forwarded, as that
# folder if OUT is not set; one of SWITCHES becomes its option without a value, unless it is 0, no, false or off. <target>_takes lists a
# target's variables, and counts only if it was set in this file.
SWITCHES := COMPLETE DRY_RUN FORCE FULL LINES ONCE REPLACE TAKE_OVER
$(foreach name,$(SWITCHES),$(if $(filter 0 no false off,$(value $(name))),$(eval override $(name) :=)))
lower_a_to_m = $(subst A,a,$(subst B,b,$(subst C,c,$(subst D,d,$(subst E,e,$(subst F,f,$(subst G,g,$(subst H,h,$(subst I,i,$(subst J,j,$(subst K,k,$(subst L,l,$(subst M,m,$(1))))))))))))))
lower_n_to_z = $(subst N,n,$(subst O,o,$(subst P,p,$(subst Q,q,$(subst R,r,$(subst S,s,$(subst T,t,$(subst U,u,$(subst V,v,$(subst W,w,$(subst X,x,$(subst Y,y,$(subst Z,z,$(1))))))))))))))
option = --$(subst _,-,$(call lower_a_to_m,$(call lower_n_to_z,$(1))))
set_or = "$(call option,$(1))=$${$(1):-$(2)}"
if_set = $${$(1):+"$(call option,$(1))$(if $(filter $(SWITCHES),$(1)),,=$$$(1))"}
options = $(foreach each,$(1),$(if $(findstring =,$(each)),$(call set_or,$(firstword $(subst =, ,$(each))),$(word 2,$(subst =, ,$(each)))),$(call if_set,$(each))))
own_options = $(call options,$(if $(filter file,$(origin $@_takes)),$($@_takes)))

# The use case's folder (docs/settings.md), by the rules of artefacts/addresses.py. Only characters that a rule can hold: it stands in targets.
CASE := $(patsubst %/,%,$(or $(strip $(value USE_CASE)),training/churn))
strange := $(CASE)
$(foreach char,a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9 _ /,$(eval strange := $$(subst $(char),,$$(strange))))
$(if $(strange)$(word 2,$(CASE))$(filter /%,$(CASE)),$(error USE_CASE is a folder below this one, in small letters, digits, _ and /))
NAME_OF_CASE := $(notdir $(CASE))
OWN := $(if $(filter training/churn,$(CASE)),var,var/use_cases/$(NAME_OF_CASE))
# The use case whose Feast repository, data and offline store this one uses: itself, the one that its file `features_of` names, or the shipped
# one, with its orders. Another one has data to fetch and features to build if its folder says how.
FEATURES_OF := $(firstword $(if $(wildcard $(CASE)/feature_repo),$(CASE),$(if $(wildcard $(CASE)/features_of),$(shell cat $(CASE)/features_of))) training/churn)
SHARED := $(filter training/churn,$(FEATURES_OF))
REPO := $(if $(SHARED),,$(FEATURES_OF)/)feature_repo
OF_FEATURES := $(if $(SHARED),var,var/use_cases/$(notdir $(FEATURES_OF)))
HAS_DATA := $(SHARED)$(wildcard $(FEATURES_OF)/data.py)
HAS_FEATURES := $(SHARED)$(wildcard $(FEATURES_OF)/features.py)
# For deploy/compose.yaml and deploy/rollout.sh.
export USE_CASE_NAME := $(NAME_OF_CASE)
export SECRETS_DIR := ./secrets$(if $(filter-out var,$(OWN)),/$(NAME_OF_CASE))

PY := "$$VENV/bin/python"
BIN := "$$VENV"/bin
UV := "$$(command -v uv || echo "$$VENV/bin/uv")"
STAMPS := $(OF_FEATURES)/stamps
ORDERED := $(if $(HAS_DATA),$(STAMPS)/ordered)
FEATURES := $(if $(HAS_FEATURES),$(STAMPS)/features-$(shell date -u +%Y-%m-%d))
APPLIED := $(STAMPS)/applied
PLACE := $(STAMPS)/place
# Whole rooms: a new file in them is known here without being named.
MAKES_FEATURES := $(wildcard $(REPO)/transformations.py $(if $(SHARED),,$(FEATURES_OF)/features.py) $(foreach room,jobs/features jobs/offline_store artefacts $(if $(SHARED),training/churn/source),$(room)/*.py $(room)/*/*.py))
MAKES_MODELS := training scoring artefacts contract $(filter-out training/%,$(CASE))
MAKE_ORDERS = $(PY) -m training data $(call options,ORDERS LINES) $${ORDERS:+$(call options,UNTIL COMPLETE)} $(call options,SYNTHETIC SEED REFERENCE_DATE)
COMPOSE := docker compose --file deploy/compose.yaml
COMPOSED := "$$PWD/$(OWN)/compose"
# The image and the model in it: its Bento has the pin of `make run`, which is another one or none.
COMPOSED_MODEL := SERVICE_IMAGE=$$(cat $(COMPOSED)/image) SERVICE_MODEL_TAG=$$(cat $(COMPOSED)/model_tag)
SECRETS := deploy/$(SECRETS_DIR:./%=%)
DEFINITIONS := $(filter-out $(REPO)/transformations.py,$(wildcard $(REPO)/*.py)) $(REPO)/feature_store.yaml

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Start here (another use case than training/churn: make run USE_CASE=use_cases/<name>)
.PHONY: run init up rollout down
run: port-free sample-of-today first-model materialize serve ## everything up to a served prediction; prints a curl that works
init: installed ## a use case for your own table: NAME=… TABLE=file.csv|parquet|postgresql://… KEY=a[,b] TARGET=… [TIME=…] [TASK=…] [OUTCOME_AFTER=28d] [ZONE=UTC]
	@$(PY) -m training init $(own_options)
init_takes := NAME= TABLE= KEY= TARGET= TIME TASK OUTCOME_AFTER ZONE
up: installed ## all of it in containers, by docker compose (docs/operations/compose.md) [PORT=3000]
	@docker compose version > /dev/null 2>&1 || { echo "error: docker compose is needed; without it: make run" >&2; exit 1; }
	@"$$PYTHON" deploy/make_secrets.py $(SECRETS)
	@$(MAKE) --no-print-directory jobs-image BUILDER=docker
	@$(COMPOSE) up --detach --wait redis mlflow
	@[ -f $(COMPOSED)/model_tag ] || $(COMPOSE) run --rm jobs python deploy/jobs/schedule.py first
	@$(MAKE) --no-print-directory composed-image && $(COMPOSED_MODEL) $(COMPOSE) up --detach --wait
	@echo "Ready. Ask it:"; echo "  curl -s http://127.0.0.1:$$PORT/$(if $(filter training/churn,$(CASE)),predict,model) -H 'Authorization: Bearer $$(cat $(SECRETS)/api_key)'"$(if $(filter training/churn,$(CASE)),\
		"-H 'Content-Type: application/json' -d '{\"customer_id\": \"00042\"}'")
rollout: installed ## the champion of compose's MLflow in a new image, one replica after the other
	@$(MAKE) --no-print-directory composed-image && $(COMPOSED_MODEL) deploy/rollout.sh
down: ## stop what make up or make redis started; its data stay
	@if [ -x $(PY) ]; then $(PY) -m jobs redis-down; fi
	@if [ -d $(COMPOSED) ]; then $(COMPOSE) down; fi

composed-image:  # MLflow's server is the one of compose, and nothing of what `make run` made is touched
	@mkdir -p $(COMPOSED) && MLFLOW_TRACKING_URI="http://127.0.0.1:$${MLFLOW_PORT:-5000}" MODEL_TAG_PATH=$(COMPOSED)/model_tag $(MAKE) --no-print-directory release BUILDER=docker
	@$(PY) -c 'import bentoml; print(bentoml.bentos.get("$(NAME_OF_CASE):latest").tag)' > $(COMPOSED)/image

## Environment
.PHONY: install lock
install: installed ## the environment, exactly as locked
lock: installed ## renew requirements/*.txt from pyproject.toml
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --group dev -o requirements/dev.txt
	for group in service training jobs spark jobs-image; do \
		$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--group $$group -c requirements/dev.txt -o requirements/$$group.txt || exit 1; \
	done

# A stamp newer than the lock: nothing ever runs against an old environment. Nor against that of the place where this one was made:
# the first lines of its scripts name that, so one that was moved or copied is made again.
installed:
	@made_in=$$(sed -n "1s|^#!\(/.*\)/python[0-9.]*$$|\1|p; 2s|^'''exec' *[\"']\(/.*\)/python[0-9.]*[\"'] .*|\1|p" "$$VENV/bin/feast" 2> /dev/null); \
	[ -z "$$made_in" ] || [ ! -e "$$VENV/.installed" ] || [ "$$made_in" -ef "$$VENV/bin" ] || { \
		printf 'the environment was made in %s; making it again here\n' "$$made_in"; "$$PYTHON" -m venv --clear "$$VENV" || exit; }
	@[ -e "$$VENV/.installed" ] && [ ! requirements/dev.txt -nt "$$VENV/.installed" ] || { \
		"$$PYTHON" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or later is needed; set PYTHON=")' || exit; \
		[ -x $(PY) ] || { printf 'making %s\n' "$$VENV"; "$$PYTHON" -m venv "$$VENV" || exit; }; \
		[ -x $(UV) ] || { echo "bringing uv"; $(PY) -m pip install --quiet "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements/dev.txt)" || exit; }; \
		printf 'installing the locked packages into %s\n' "$$VENV"; \
		$(UV) pip sync --quiet --python $(PY) --require-hashes requirements/dev.txt && touch "$$VENV/.installed"; \
	}

## Data → features
.PHONY: data features daily
data: installed ## fetch CDNOW [REFERENCE_DATE=2026-01-31], take your own [ORDERS=path.csv|parquet] [LINES=1] [UNTIL=2026-01-31T00:00|COMPLETE=1], or make some [SYNTHETIC=5000000] [SEED=1]
	@$(if $(SHARED),$(MAKE_ORDERS),$(if $(HAS_DATA),$(MAKE_ORDERS) && mkdir -p $(STAMPS) && touch $(ORDERED),echo "data: $(CASE) fetches none"))
features: $(ORDERED) $(PLACE) ## orders → feature rows in the offline store [ENGINE=duckdb|spark] [FULL=1]
	@$(if $(HAS_FEATURES),,echo "features: $(CASE) builds none"; exit;) echo "features:"; $(PY) -m jobs features $(call options,ENGINE FULL) && mkdir -p $(STAMPS) && rm -f $(STAMPS)/features-* && touch $(FEATURES)

daily: installed ## every day: your own orders, read again from the file given last → features → online store [UNTIL=2026-01-31T00:00] [COMPLETE=1]
	@$(if $(HAS_DATA),$(PY) -m training data $(if $(SHARED),--again) $(call options,UNTIL COMPLETE) &&) UNTIL= $(MAKE) --no-print-directory features materialize

# A shipped sample ends yesterday, whatever day it is. Your own orders keep their dates.
sample-of-today: installed
	@$(if $(SHARED),,$(if $(HAS_DATA),[ ! -e $(ORDERED) ] || $(PY) -m training data --follow-today;) exit;) [ -n "$$ORDERS" ] || [ ! -e "$${ORDERS_PATH:-var/data/orders.parquet}" ] || $(PY) -m training data --follow-today

# As old as the orders, wherever they are.
$(ORDERED): $(if $(SHARED),look,$(HAS_DATA)) | installed
	@$(if $(SHARED),,echo "data:"; $(PY) -m training data && mkdir -p $(STAMPS) && touch $@; exit;) \
	orders="$${ORDERS_PATH:-var/data/orders.parquet}"; mkdir -p $(STAMPS); \
	[ -z "$$ORDERS" ] || [ -e "$$ORDERS" ] || { printf 'error: ORDERS=%s: no such file\n' "$$ORDERS" >&2; exit 1; }; \
	if [ ! -e "$$orders" ] || [ "$${ORDERS:-$$orders}" -nt "$$orders" ]; then echo "orders:"; $(MAKE_ORDERS) || exit; fi; \
	touch -r "$$orders" $@
look:
# Newer than what was made for other folders, as those of a checkout that was moved or copied. A sum, since an address may hold a password.
$(PLACE): look | installed
	@place="$$(printf '%s\n' "$$(pwd -P)" "$$OFFLINE_STORE_DIR" "$$OFFLINE_STORE_TYPE" "$$FEAST_REGISTRY" "$$ORDERS_PATH" "$$STREAMED_ORDERS_DIR" | cksum)"; mkdir -p $(STAMPS); \
	[ "$$(cat $@ 2> /dev/null)" = "$$place" ] || printf '%s\n' "$$place" > $@
$(FEATURES): $(ORDERED) $(PLACE) $(MAKES_FEATURES)
	@$(MAKE) --no-print-directory features

## Feast
.PHONY: apply check-contracts redis materialize feast-env feast-ui
apply: installed $(PLACE) ## register the definitions of the feature repository
	@$(PY) -m jobs apply && mkdir -p $(STAMPS) && touch $(APPLIED)
check-contracts: installed ## would the definitions of the feature repository break a live model? [CONTRACTS="answer-of-get-model.json …"]
	@unset FEAST_FS_YAML_FILE_PATH OFFLINE_STORE_TYPE; scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && export FEAST_REGISTRY="$$scratch/registry.db" && \
		$(PY) -m jobs apply && $(PY) -m training check-contracts -- $$CONTRACTS
redis: installed ## start the embedded Redis, or reuse it; nothing where REDIS_URL is set
	@$(PY) -m jobs redis-up
# Beside ORDERS, UNTIL speaks of these.
materialize: redis $(FEATURES) $(APPLIED) ## offline store → Redis: what changed [FULL=1] [UNTIL=2026-01-31T00:00] [REPLACE=1] [TAKE_OVER=1]
	@echo "materialize:"; [ -z "$$ORDERS" ] || UNTIL=; $(PY) -m jobs materialize $(call options,UNTIL FULL REPLACE TAKE_OVER)

feast-env: installed ## what feast's own commands need at other addresses than the local ones: eval "$(make -s feast-env)"
feast-ui: $(APPLIED) ## the feature registry in a browser, on loopback; Ctrl-C ends it [UI_PORT=8888]
feast-ui_takes := UI_PORT

$(APPLIED): $(DEFINITIONS) $(PLACE) | installed
	@echo "apply:"; $(MAKE) --no-print-directory apply

## Model
.PHONY: train enough-orders rows register-onnx import-model retrain promote rollback challenge models mlflow-ui
train: enough-orders $(APPLIED) ## train, evaluate, register, promote through the gate
	@$(MAKE) --no-print-directory features && $(PY) -m training train
enough-orders: $(ORDERED) ## are there enough orders to train on? Said before the minutes of features
	@$(if $(SHARED),$(PY) -m training check-orders)
rows: $(FEATURES) $(APPLIED) ## the rows of all splits, for a model that is trained elsewhere [OUT=var/rows.parquet]
rows_takes := OUT=$(OWN)/rows.parquet
register-onnx: installed ## a model that was trained elsewhere → MLflow registry, through the gate: MODEL=model.onnx SCORES=scores.parquet
register-onnx_takes := MODEL= SCORES=
import-model: installed ## MLflow registry → BentoML model store [MODEL=champion]
import-model_takes := MODEL
retrain: installed label-fits $(APPLIED) ## new data → features → challenger, through the gate; nothing without new data, but for [FORCE=1]
	@$(MAKE) --no-print-directory features && $(PY) -m training retrain $(call options,FORCE)
promote: installed ## make a version champion, through the gate [VERSION=challenger] [FORCE=1] [REASON="…"]
promote_takes := VERSION FORCE REASON
rollback: installed ## bring back an earlier champion, byte for byte: REASON="…" [TO=ledger entry]
rollback_takes := REASON= TO
challenge: installed ## a second model beside the champion: MODE=shadow|canary|off [VERSION=challenger] [SHARE=0.1]
challenge_takes := MODE= VERSION SHARE
models: installed ## versions, aliases, verdicts, figures, and the ledger of what was moved
mlflow-ui: installed ## runs, figures, model cards and versions in a browser, on loopback; Ctrl-C ends it [UI_PORT=5000]
mlflow-ui_takes := UI_PORT

rows register-onnx import-model mlflow-ui promote rollback challenge models:
	@$(PY) -m training $@ $(own_options)

label-fits: installed  # a label's length that is set and is not the champion's; said before the minutes of features
	@[ -z "$$TRAINING_LABEL_DAYS" ] || $(PY) -m training champion || [ $$? -eq 4 ]

# What serves, scores, builds or measures trains nothing and moves no alias: `make run` trains where there is no champion at all.
first-model: $(ORDERED)
	@tag="$${MODEL_TAG_PATH:-$(OWN)/model_tag}"; code=0; \
	if [ ! -s "$$tag" ] || [ -n "$$TRAINING_LABEL_DAYS" ]; then \
		$(PY) -m training champion || code=$$?; [ $$code -eq 0 ] || [ $$code -eq 4 ] || exit $$code; \
	fi; \
	if [ ! -s "$$tag" ]; then \
		if [ $$code -eq 4 ]; then echo "train:"; $(MAKE) --no-print-directory train || exit; fi; \
		echo "import:"; $(MAKE) --no-print-directory import-model; \
	elif [ "$(ORDERED)" -nt "$$tag" ]; then \
		echo "note: the orders are newer than the model, which stays: make retrain, then make promote, brings another"; \
	elif [ -n "$$(find $(MAKES_MODELS) -name '*.py' -newer "$$tag" 2> /dev/null | head -n 1)" ]; then \
		echo "note: the code that makes models is newer than the model, which stays: make retrain FORCE=1, then make promote, brings another"; \
	fi
imported: installed
	@[ -s "$${MODEL_TAG_PATH:-$(OWN)/model_tag}" ] || { echo "error: no model is imported here; make run makes all that it takes, make import-model brings a champion that there is" >&2; exit 1; }

## Serve
.PHONY: serve api-key
serve: installed port-free ## the service on [HOST=127.0.0.1] [PORT=3000]; Ctrl-C ends it
	@address=$$("$$PYTHON" jobs/local/listening.py "--host=$$HOST" "--port=$$PORT") || exit 1; \
		$(PY) -m jobs first-prediction "--host=$$address" "--port=$$PORT" & \
		exec $(BIN)/bentoml serve "--host=$$address" "--port=$$PORT"

port-free:  # said before the minutes of training, not after
	@"$$PYTHON" jobs/local/listening.py "--host=$$HOST" "--port=$$PORT" "--target=$$GOALS" > /dev/null

api-key: installed ## a new API key, shown once: NAME=shop [KEYS_FILE=.api_keys]
	@$(PY) -m service new-key "--file=$${KEYS_FILE:-.api_keys}" -- "$$NAME"

## Package (docs/operations/image.md)
.PHONY: build containerize jobs-image image-size sbom
build: imported ## a Bento with the pinned model, labelled with version and commit
	@$(BIN)/bentoml build --arg use_case=$(CASE) --label "version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
		--label "commit=$$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null)"
containerize: installed ## an OCI image of a built Bento [BENTO=<use case>:latest] [BUILDER=docker|podman|buildah] [EXTRA="psycopg psycopg-binary psycopg-pool"] [OPTIONS="--network=host"]
	@$(PY) -m deploy.image.containerize $(call options,BENTO BUILDER EXTRA) -- $$OPTIONS
jobs-image: installed ## the image of jobs, training and MLflow's server: <use case>-jobs:latest [BUILDER=…] [OPTIONS=…]
	@$(PY) -m deploy.image.jobs_image $(call options,BUILDER) -- $$OPTIONS
image-size: installed ## what takes up the image's room [BENTO=…] [BUILDER=…]
	@$(PY) -m deploy.image.containerize --size-only $(call options,BENTO BUILDER)
sbom: installed ## the image's software bill of materials, CycloneDX → var/sbom.json [BENTO=…] [BUILDER=…] [OUT=…]
	@$(PY) -m deploy.image.sbom $(call options,BENTO BUILDER OUT=$(OWN)/sbom.json)

## Ship
.PHONY: release release-bento release-images scan push publish deploy chart
release: installed ## the registry's champion in an image, with its bill of materials
	@$(MAKE) --no-print-directory import-model && $(MAKE) --no-print-directory --old-file=imported build containerize sbom
# Absolute: bentoml takes any other path for one below the root folder.
RELEASED_BENTO := "$$PWD/var/release/release.bento"
RELEASED_TAG = "$$(tar -xOf $(RELEASED_BENTO) ./bento.yaml | sed -n -e 's/^name: //p' -e 's/^version: /:/p' | tr -d '\n')"
release-bento: installed ## the registry's champion, packed once for all processors → var/release/release.bento
	@$(MAKE) --no-print-directory import-model && $(MAKE) --no-print-directory --old-file=imported build
	@mkdir -p var/release && rm -f var/release/release.bento && $(BIN)/bentoml export $(NAME_OF_CASE):latest $(RELEASED_BENTO)
release-images: installed ## both images of that Bento on this machine's processor, with their bills of materials → var/release
	@$(BIN)/bentoml get $(RELEASED_TAG) >/dev/null 2>&1 || $(BIN)/bentoml import $(RELEASED_BENTO)
	@$(MAKE) --no-print-directory containerize jobs-image BENTO=$(RELEASED_TAG)
	@$(PY) -m deploy.image.sbom --bento=$(RELEASED_TAG) --out=var/release/sbom.json && $(PY) -m deploy.image.sbom --jobs --out=var/release/jobs-sbom.json
	@echo made of $(RELEASED_TAG), which make push takes as BENTO=
scan: installed ## known vulnerabilities of the packages in the image; asks the package index
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement requirements/service.txt
push: installed ## both images to their registry, as REGISTRY_USER with REGISTRY_PASSWORD if set: IMAGE=registry/<use case>-service:v1.0.0 JOBS_IMAGE=…
	@$(PY) -m deploy.image.push $(call options,IMAGE= JOBS_IMAGE= BENTO BUILDER)
publish: installed ## of a release pushed as <name>-amd64 and <name>-arm64: one name, the chart, cosign's signatures: IMAGE=… JOBS_IMAGE=…
	@$(PY) -m deploy.image.publish $(call options,IMAGE= JOBS_IMAGE=)
deploy: ## both on a cluster, with helm: IMAGE=… JOBS_IMAGE=… VALUES=values.yaml [RELEASE=<use case>-service] [NAMESPACE=<use case>]
	@for given in "IMAGE=$$IMAGE" "JOBS_IMAGE=$$JOBS_IMAGE"; do case "$$given" in *@*) printf 'error: %s: a tag, not a digest\n' "$$given" >&2; exit 1;; \
		*[!A-Za-z0-9=._/:-]*) echo "error: $${given%%=*} holds more than letters, digits and . _ / : -" >&2; exit 1;; \
		*=*/*:*) ;; *) printf 'error: %s is not registry/repository:tag\n' "$$given" >&2; exit 1;; esac; done
	@[ -f "$$VALUES" ] || { printf 'error: VALUES=%s: no such file\n' "$$VALUES" >&2; exit 1; }
	@helm upgrade --install "--namespace=$${NAMESPACE:-$(NAME_OF_CASE)}" $(addprefix --values=,$(wildcard $(CASE)/values.yaml)) "--values=$$VALUES" --wait --timeout 10m \
		--set-string "image.repository=$${IMAGE%:*},image.tag=$${IMAGE##*:},image.digest=" \
		--set-string "jobs.image.repository=$${JOBS_IMAGE%:*},jobs.image.tag=$${JOBS_IMAGE##*:},jobs.image.digest=" \
		-- "$${RELEASE:-$(NAME_OF_CASE)-service}" deploy/helm/model-service
chart: installed ## the Helm chart: linted, rendered, validated, packed → var/chart
	@$(PY) -m pytest -q $(wildcard tests/integration/deploy/test_chart*.py)
	@mkdir -p var/chart && $(PY) -c 'import helm_python; print(helm_python.package("deploy/helm/model-service", destination="var/chart"))'

## Score without HTTP
.PHONY: score-batch score-stream
score-batch: imported ## everybody's prediction as Parquet [AS_OF=2026-01-31T00:00] [OUT=var/predictions] [ENTITIES=file.csv] [ENGINE=spark]
score-batch_takes := OUT=$(OWN)/predictions AS_OF ENTITIES ENGINE
score-stream: imported redis ## follow new orders [INCOMING=var/stream/incoming] [OUT=var/stream] [SOURCE=json|parquet|kafka] [ONCE=1]; Ctrl-C ends
score-stream_takes := INCOMING=$(OWN)/stream/incoming OUT=$(OWN)/stream SOURCE ONCE

## Look after what was answered
.PHONY: why publish-log audit-skew drift labels live-quality compare-live erase
why: installed ## a logged decision, rebuilt: REQUEST=<request_id> [ROW=0] [SINCE=2026-01-31] [UNTIL=2026-02-01]
why_takes := REQUEST= ROW SINCE UNTIL
publish-log: installed ## inference log → Feast's log of served features, each file once [SINCE=2026-01-31] [UNTIL=2026-02-01]
publish-log_takes := SINCE UNTIL
audit-skew: installed ## what was served against the offline store, value by value → var/skew [SINCE=2026-01-31] [UNTIL=…] [SAMPLE=10000] [OUT=…] [ID_KEY_FILE=…] [MAX_UNEXPLAINED=0] [MAX_FAULTS=0] [MAX_MOVED=0.01]
audit-skew_takes := SINCE UNTIL SAMPLE OUT=$(OWN)/skew ID_KEY_FILE MAX_UNEXPLAINED MAX_FAULTS MAX_MOVED
drift: installed ## live inputs and scores against a baseline → var/drift [BASELINE=training|promoted|2025-12-01..2026-01-01] [SINCE=2026-01-31] [UNTIL=…] [OUT=…]
drift_takes := BASELINE SINCE UNTIL OUT=$(OWN)/drift
labels: installed ## what became of the answered, once due → var/labels.parquet [DAYS=30] [SINCE=2026-01-31] [UNTIL=…] [OUT=…] [ID_KEY_FILE=…]
labels_takes := OUT=$(OWN)/labels.parquet DAYS SINCE UNTIL ID_KEY_FILE
live-quality: installed ## answers held against labels, by model and week → var/live_quality [LABELS=var/labels.parquet] [SINCE=2026-01-31] [UNTIL=…] [OUT=…] [MAX_LOSS=0.05, once MAX_AUC_LOSS=]
live-quality_takes := LABELS=$(OWN)/labels.parquet SINCE UNTIL OUT=$(OWN)/live_quality MAX_LOSS MAX_AUC_LOSS
compare-live: installed ## champion and challenger on rows that both scored → var/live_quality [LABELS=file.parquet|csv] [SINCE=2026-01-31] [UNTIL=…] [OUT=…]
compare-live_takes := LABELS SINCE UNTIL OUT=$(OWN)/live_quality
erase: installed ## one customer, from the stores, the log and what was made of them: KEY=00042|a=1,b=2 [DRY_RUN=1] [ALSO=folder,file] [ID_KEY_FILE=…] [OUT=var/erasures]
erase_takes := KEY= OUT=$(OWN)/erasures ALSO ID_KEY_FILE DRY_RUN

feast-env feast-ui score-batch score-stream why publish-log audit-skew drift labels live-quality compare-live erase:
	@$(PY) -m jobs $@ $(own_options)

## Measure
.PHONY: bench soak bench-beside bench-width bench-capacity bench-jobs bench-log drift-power drift-year bench-hours gate-power
bench: imported materialize ## beside what else could be run → docs/performance.md; 13 quiet minutes [ROUNDS=3] [SECONDS=2]
	@$(PY) -m benchmarks online $(call options,ROUNDS SECONDS)
	@$(PY) -m benchmarks breakdown && $(PY) -m benchmarks report
soak: imported materialize ## 200,000 requests through one worker → docs/performance.md
bench-beside: imported materialize ## what the inference log and a challenger cost → docs/performance.md; five quiet minutes
bench-width: installed ## reading 10 to 200 features over 1 to 10 views, beside Feast's SDK → docs/performance.md; three quiet minutes [ROUNDS=15]
bench-width_takes := ROUNDS
bench-capacity: imported materialize ## what a replica and Redis take → docs/operations/capacity.md; one quiet minute
bench-jobs: imported ## the jobs beside stock tools → docs/performance.md; 25 quiet minutes [SIZES=200000,1000000] [LARGEST=5000000]
bench-jobs_takes := SIZES LARGEST
bench-log: imported ## what the inference log and the jobs that read it cost → docs/inference-log.md; three quiet minutes
drift-power: imported ## false alarms and power of the test of drift → docs/monitoring.md; three minutes
bench-hours: $(FEATURES) $(APPLIED) ## training at the hours of requests instead of at midnights → docs/model.md; a minute
gate-power: installed ## what the gate lets through, simulated → docs/promotion.md; some minutes
drift-year: installed ## monthly reports of drift over a year of steady shops, and what they find planted → docs/monitoring.md; five minutes

soak bench-beside bench-width bench-capacity bench-jobs bench-log drift-power drift-year bench-hours gate-power:
	@$(PY) -m benchmarks $(@:bench-%=%) $(own_options) && $(PY) -m benchmarks report

## Quality
.PHONY: check ci lint format generated test test-unit faults clean
check: lint test ## what CI runs
ci: ## the same on a bare machine, as root: Debian's packages first
	@.ci/run
lint: installed ## style, types, import rules, workflows
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yaml && $(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml && $(BIN)/zizmor --quiet --offline --pedantic .github
format: installed ## rewrite to style
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .
generated: installed ## files made from code: docs/settings.md and the chart's values.schema.json of the settings, Grafana's dashboard of its panels
	@$(PY) -m deploy.settings_page && $(PY) -m deploy.settings_schema && $(PY) -m deploy.grafana.dashboard
test: installed ## all tests [TESTS=tests/unit]
	@if [ -n "$$TESTS" ]; then $(PY) -m pytest $$TESTS; else $(PY) -m tests.run_all; fi
test-unit: installed ## the fast ones
	@$(PY) -m pytest tests/unit
faults: installed ## servers that fail under load → docs/reliability.md; five minutes
	@FAULTS_MEASUREMENTS="$$PWD/var/faults.json" $(PY) -m pytest tests/faults && $(PY) -m tests.faults.report var/faults.json
clean: down ## remove data, registries and stamps; keeps the environment and the BentoML store
	rm -rf var
