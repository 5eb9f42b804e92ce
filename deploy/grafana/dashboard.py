"""Makes the Grafana dashboard from panels.yaml: `make generated` writes it."""

import json
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
FILE = FOLDER / "dashboards" / "model-service.json"
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_ACROSS, _WIDTH, _HEIGHT = 3, 8, 8
"""Panels per row, and width and height of one; a dashboard is 24 wide."""


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana's JSON model."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, panels_of_row in yaml.safe_load((FOLDER / "panels.yaml").read_text(encoding="utf-8")).items():
        panels.append({"type": "row", "title": row, "panels": [], "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        for n, panel in enumerate(panels_of_row):
            down, across = divmod(n, _ACROSS)
            place = {"x": across * _WIDTH, "y": y + 1 + down * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            panels.append({**_drawn(panel), "gridPos": place})
        y += 1 + -(-len(panels_of_row) // _ACROSS) * _HEIGHT
    return {
        "uid": "model-service",
        "title": "Model service",
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {
            "list": [
                {"type": "datasource", "name": "source", "label": "Source", "query": "prometheus"},
                {
                    "type": "query",
                    "name": "model",
                    "label": "Model",
                    "datasource": _SOURCE,
                    "query": 'label_values({__name__=~"model_service_model_live|model_jobs_.+"}, model)',
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": [{"id": n, **panel} for n, panel in enumerate(panels, 1)],
    }


def _drawn(panel: dict[str, Any]) -> dict[str, Any]:
    table = panel.get("kind") == "table"
    return {
        "type": panel.get("kind", "timeseries"),
        "title": panel["title"],
        "description": panel["description"],
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel["unit"]}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": table,
                "range": not table,
                "format": "table" if table else "time_series",
            }
            for n, (query, legend) in enumerate(panel["queries"].items())
        ],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
