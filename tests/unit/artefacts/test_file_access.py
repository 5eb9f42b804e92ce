"""A file that may not be read is named with what its owner can do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from artefacts.addresses import PROJECT_ROOT

CONTAINER = 10001
READ = {
    "keys": "from service.api.authentication import ApiKeys; ApiKeys.of('', {file!r})",
    "pseudonyms": (
        "from pathlib import Path; from scoring.pseudonyms import Pseudonyms; Pseudonyms.from_file(Path({file!r}))"
    ),
    "redis": "from artefacts.addresses import Artefacts; Artefacts.of({{'REDIS_URL_FILE': {file!r}}})",
}


@pytest.mark.skipif(
    os.geteuid() != 0 and os.environ.get("CI") != "true", reason="only root can become the container's user"
)
@pytest.mark.parametrize("what", READ)
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_the_containers_user_is_told_whose_file_it_is_and_the_way_out(tmp_path: Path, what: str, closed: str) -> None:
    file = tmp_path / "keys" / "api_keys"
    file.parent.mkdir()
    file.write_text("x")
    file.chmod(0o600)
    file.parent.chmod(0o700 if closed == "folder" else 0o755)
    for folder in list(file.parents)[1:-2]:
        folder.chmod(0o755)

    code = (
        "import os; {imports}\nos.setegid({user}); os.seteuid({user})\n"
        "try:\n    {read}\nexcept Exception as error:\n    print(error)"
    )
    imports = "import service.api.authentication, scoring.pseudonyms, artefacts.addresses"
    done = subprocess.run(
        [sys.executable, "-c", code.format(imports=imports, user=CONTAINER, read=READ[what].format(file=str(file)))],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    (line,) = done.stdout.splitlines()
    assert str(file) in line
    assert f"this process is user {CONTAINER} of group {CONTAINER}" in line
    assert ("has mode 0600 and belongs to user 0" in line and "`chmod a+r`" in line) or closed == "folder"
    assert "let it enter the folder" in line or closed == "file"
