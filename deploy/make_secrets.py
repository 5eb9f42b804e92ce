"""Makes the secrets of deploy/compose.yaml: `python3 deploy/make_secrets.py FOLDER`. Needs only Python.

Existing secrets stay, so a second `make up` uses those of the first. Other users cannot enter the folder.
The files are readable, because each container reads them as its own user.
"""

import hashlib
import secrets
import sys
from pathlib import Path

USERS = Path(__file__).parent / "redis" / "users.acl"


def redis_secrets() -> dict[str, str]:
    """File → content: Redis' users with password hashes, and each user's address with its password."""
    passwords = {user: secrets.token_urlsafe(32) for user in ("serving", "jobs")}
    users = USERS.read_text(encoding="utf-8")
    for user, password in passwords.items():
        users = users.replace(f"{{{user.upper()}_SHA256}}", hashlib.sha256(password.encode()).hexdigest())
    urls = {f"redis_{user}_url": f"redis://{user}:{password}@redis:6379/0\n" for user, password in passwords.items()}
    return {"redis_users.acl": users, **urls}


def api_key_secrets() -> dict[str, str]:
    """The first client's API key, and the service's line with its hash."""
    key = secrets.token_urlsafe(32)
    return {"api_key": key + "\n", "api_keys": f"first:{hashlib.sha256(key.encode()).hexdigest()}\n"}


def make(folder: Path) -> list[str]:
    """Write the missing secrets; returns the names of the files written."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for together in (
        redis_secrets(),
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
    for made in make(Path(sys.argv[1])):
        print(f"made {sys.argv[1]}/{made}")
