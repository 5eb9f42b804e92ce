"""The chart, rendered by Helm as a library."""

import copy
import importlib.util
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from artefacts.addresses import PROJECT_ROOT

CHART = PROJECT_ROOT / "deploy/helm/model-service"
USE_CASE = PROJECT_ROOT / "training/churn/values.yaml"
VALUE_SETS = {file.stem: file for file in sorted((PROJECT_ROOT / "deploy/helm/values").glob("*.yaml"))}
KUBERNETES = "1.31"
"""The oldest that the chart is for, as Chart.yaml says."""

OPERATORS_KINDS = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute"}
"""Of definitions that a cluster gets from elsewhere."""

needs_helm = pytest.mark.skipif(
    importlib.util.find_spec("helm_python") is None and os.environ.get("CI") != "true",
    reason="Helm as a library has no wheel for this machine",
)

Manifest = dict[str, Any]


class Refused(Exception):
    """Helm did not take the values."""


def values_of(name: str) -> dict[str, Any]:
    """A value set on the use case's values, as after `helm … -f training/churn/values.yaml -f <set>`."""
    return merged(yaml.safe_load(USE_CASE.read_text()), yaml.safe_load(VALUE_SETS[name].read_text()))


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Two files of values as Helm merges them."""
    return values | {
        key: merged(values[key], value) if isinstance(value, dict) and isinstance(values.get(key), dict) else value
        for key, value in more.items()
    }


def with_values(name: str, path: str, value: object) -> dict[str, Any]:
    """A value set with one key changed, e.g. `service.replicas`."""
    changed = copy.deepcopy(values_of(name))
    *folders, last = path.split(".")
    place = changed
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value
    return changed


def render(values: Mapping[str, Any], release: str = "demo", namespace: str = "churn") -> list[Manifest]:
    """Every manifest that is not empty. Raises: as `files_of`."""
    texts = [text for name, text in files_of(values, release, namespace).items() if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def files_of(values: Mapping[str, Any], release: str, namespace: str = "churn") -> dict[str, str]:
    """File of the chart → what it renders to.

    Raises:
        Refused: with what Helm says about the values.
    """
    import helm_python

    with helm_python.Chart.load(CHART) as chart:
        try:
            rendered: dict[str, str] = chart.render(dict(values), name=release, namespace=namespace)
        except (helm_python.HelmValuesError, helm_python.HelmRenderError) as error:
            raise Refused(str(error)) from None
    return rendered


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pod_templates(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Name of what makes the pods → their template."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield manifest["metadata"]["name"], spec["template"]


def containers(template: Manifest) -> list[Manifest]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def environment(container: Manifest) -> dict[str, Any]:
    """Variable → its text, or where it comes from."""
    return {given["name"]: given.get("value", given.get("valueFrom")) for given in container.get("env", [])}


def selects(selector: dict[str, str], template: Manifest) -> bool:
    labels: dict[str, str] = template["metadata"]["labels"]
    return selector.items() <= labels.items()
