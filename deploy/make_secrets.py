"""Makes the secrets of a deployment of `USE_CASE`: `python3 deploy/make_secrets.py FOLDER`. Needs only Python.

The users of Redis may touch the keys of one Feast project: that of the use case. Existing secrets stay, so a second
`make up` uses those of the first. Other users cannot enter the folder.
The files are readable, because each container reads them as its own user.
"""

import hashlib
import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USERS = ROOT / "deploy" / "redis" / "users.acl"


class SecretsError(Exception):
    """The secrets cannot be made; the message says why."""


def feast_project(environ: Mapping[str, str], root: Path = ROOT) -> str:
    """The Feast project of the use case that `USE_CASE` names, by the rule of `artefacts/addresses.py`.

    Raises:
        SecretsError: its `feature_store.yaml` names none.
    """
    own = root / (environ.get("USE_CASE") or "training/churn") / "feature_repo"
    file = (own if own.is_dir() else root / "feature_repo") / "feature_store.yaml"
    found = re.search(r"""^project: *["']?(\w+)["']? *(?:#.*)?$""", file.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SecretsError(f"{file} names no project")
    return found.group(1)


def redis_secrets(project: str) -> dict[str, str]:
    """File → content: Redis' users with password hashes, and each user's address with its password."""
    passwords = {user: secrets.token_urlsafe(32) for user in ("serving", "jobs")}
    users = USERS.read_text(encoding="utf-8").replace("{PROJECT}", project)
    for user, password in passwords.items():
        users = users.replace(f"{{{user.upper()}_SHA256}}", hashlib.sha256(password.encode()).hexdigest())
    urls = {f"redis_{user}_url": f"redis://{user}:{password}@redis:6379/0\n" for user, password in passwords.items()}
    return {"redis_users.acl": users, **urls}


def api_key_secrets() -> dict[str, str]:
    """The first client's API key, and the service's line with its hash."""
    key = secrets.token_urlsafe(32)
    return {"api_key": key + "\n", "api_keys": f"first:{hashlib.sha256(key.encode()).hexdigest()}\n"}


def make(folder: Path, project: str) -> list[str]:
    """Write the missing secrets; returns the names of the files written.

    Args:
        project: the Feast project whose keys the users of Redis may touch.

    Raises:
        SecretsError: the folder has users that may touch those of another project only.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    users = folder / "redis_users.acl"
    if users.exists() and f"~{project}:* " not in users.read_text(encoding="utf-8"):
        raise SecretsError(
            f"{users} lets nobody touch the keys of Feast's project {project}: give this use case a folder of its own"
        )
    written = []
    for together in (
        redis_secrets(project),
        api_key_secrets(),
        {"postgres_password": secrets.token_urlsafe(32)},
        {"grafana_password": secrets.token_urlsafe(16)},
        {"alert_webhook": "http://localhost:9/nobody-is-told-until-this-is-an-address\n"},
    ):
        if all((folder / name).exists() for name in together):
            continue
        for name, content in together.items():
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
            (folder / name).chmod(0o444)
            written.append(name)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: name the folder: python3 deploy/make_secrets.py deploy/secrets")
    try:
        for made in make(Path(sys.argv[1]), feast_project(os.environ)):
            print(f"made {sys.argv[1]}/{made}")
    except (SecretsError, OSError) as error:
        sys.exit(f"error: {error}")
