"""Describes the machine, the versions and the code of a measurement."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import redis

from artefacts.addresses import PROJECT_ROOT

_PACKAGES = (
    "bentoml",
    "feast",
    "mlflow",
    "fastapi",
    "uvicorn",
    "uvloop",
    "onnxruntime",
    "scikit-learn",
    "numpy",
    "pandas",
    "redis",
    "hiredis",
    "protobuf",
)


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, and load before the measurement."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(": ")[2] for line in _lines(cpuinfo) if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def versions(redis_url: str) -> dict[str, str]:
    """Versions of Python, the relevant packages, and the server at `redis_url`."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        info: dict[str, Any] = client.info("server")
    name = "valkey" if "valkey_version" in info else "redis"
    found = {package: version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), **found, f"{name} server": str(info[f"{name}_version"])}


def redis_pid(redis_url: str) -> int | None:
    """Process id of the Redis server; None if it runs on another machine."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        info: dict[str, Any] = client.info("server")
        host = client.connection_pool.connection_kwargs.get("host")
    pid = int(info["process_id"])
    return pid if host in ("127.0.0.1", "localhost") and psutil.pid_exists(pid) else None


def provenance() -> dict[str, str]:
    """Time and git commit; `-dirty` means uncommitted changes."""
    commit = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    dirty = "-dirty" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "git_commit": commit + dirty}


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words],  # noqa: S607  # whichever git the user has
        cwd=PROJECT_ROOT,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
