"""The runtime of compiled models."""

import os
import subprocess
import sys
from pathlib import Path

from tests.loop import SOURCE


def files_at_home(statement: str, home: Path) -> list[str]:
    """What a process leaves there that loads ONNX Runtime by this statement."""
    home.mkdir()
    # Nothing else: it does not collect where `CI` is set either.
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    made = f"{statement}; onnxruntime.SessionOptions(); onnxruntime.get_available_providers()"
    subprocess.run([sys.executable, "-c", made], cwd=SOURCE, env=environment, check=True, timeout=120)
    return [file.name for file in home.rglob("*") if file.is_file()]


def test_the_runtime_collects_nothing_for_its_makers(tmp_path: Path) -> None:
    assert [] == files_at_home("from scoring.models.onnx_scorer import onnxruntime", tmp_path / "ours")
    # Whoever finds this to fail has a runtime that has stopped doing it: `ORT_DISABLE_TELEMETRY` can go.
    assert any("onnxruntime" in name for name in files_at_home("import onnxruntime", tmp_path / "bare"))
