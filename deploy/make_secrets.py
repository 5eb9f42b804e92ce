"""The secrets of deploy/compose.yaml, made once: `python3 deploy/make_secrets.py FOLDER`. Needs nothing but Python.

What is there stays as it is, so that a second `make up` opens what the first one closed. The folder is closed to other
users of the machine; the files are not, because each container reads its own as a user of its own.
"""

import hashlib
import secrets
import sys
from pathlib import Path

USERS = Path(__file__).parent / "redis" / "users.acl"


def redis_secrets() -> dict[str, str]:
    """File → content: the users, of whom the server sees only hashes, and the address of each with its password."""
    passwords = {user: secrets.token_urlsafe(32) for user in ("serving", "jobs")}
    users = USERS.read_text(encoding="utf-8")
    for user, password in passwords.items():
        users = users.replace(f"{{{user.upper()}_SHA256}}", hashlib.sha256(password.encode()).hexdigest())
    urls = {f"redis_{user}_url": f"redis://{user}:{password}@redis:6379/0\n" for user, password in passwords.items()}
    return {"redis_users.acl": users, **urls}


def api_key_secrets() -> dict[str, str]:
    """The first caller's key, and the line that the service knows it by."""
    key = secrets.token_urlsafe(32)
    return {"api_key": key + "\n", "api_keys": f"first:{hashlib.sha256(key.encode()).hexdigest()}\n"}


def make(folder: Path) -> list[str]:
    """Write what is missing; the names of the files written."""
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
