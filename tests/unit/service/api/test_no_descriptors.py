"""While no file descriptor is free, nothing that could not be read is remembered as being so.

Each test runs in a process of its own, whose descriptors are really used up.
"""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from tests.loop import SOURCE
from tests.models.fakes import small_contract, store_model

PRELUDE = """
import os, resource, sys, logging
from pathlib import Path
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

def use_up():
    taken = []
    while True:
        try:
            taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            return taken

def give_back(taken):
    for descriptor in taken:
        os.close(descriptor)
"""


def lines_of(script: str, folder: Path) -> list[str]:
    command = [sys.executable, "-c", PRELUDE + dedent(script), str(folder)]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_key_that_is_revoked_meanwhile_is_refused_as_soon_as_its_file_can_be_read(tmp_path: Path) -> None:
    said = lines_of(
        """
        from service.api.authentication import ApiKeys, new_key
        from service.errors import UnauthenticatedError
        (old, old_entry), (new, new_entry) = new_key("old"), new_key("new")
        file = folder / "keys"
        file.write_text(old_entry + "\\n")
        now = [100.0]
        keys = ApiKeys.of("", str(file), lambda: now[0])

        def tell(key):
            try:
                print("valid", keys.authenticate(b"Bearer " + key.encode()))
            except UnauthenticatedError:
                print("refused")

        file.write_text(new_entry + "\\n")
        taken = use_up()
        for _ in range(3):
            now[0] += 1
            tell(old)
        give_back(taken)
        now[0] += 1
        tell(old)
        tell(new)
        """,
        tmp_path,
    )

    assert ["valid old"] * 3 == [line for line in said if line == "valid old"]
    assert ["refused", "valid new"] == said[-2:]
    assert ["WARNING", "INFO"] == [line.split()[0] for line in said if line.split()[0] in ("WARNING", "ERROR", "INFO")]
    assert "Too many open files" in said[0]


def test_keys_whose_file_cannot_be_read_for_a_minute_are_shut_out_and_let_in_again(tmp_path: Path) -> None:
    said = lines_of(
        """
        from service.api.authentication import ApiKeys, new_key
        from service.errors import UnauthenticatedError
        (filed, entry), (fixed, fixed_entry) = new_key("filed"), new_key("fixed")
        file = folder / "keys"
        file.write_text(entry + "\\n")
        now = [100.0]
        keys = ApiKeys.of(fixed_entry, str(file), lambda: now[0])

        def tell(key):
            try:
                print("valid", keys.authenticate(b"Bearer " + key.encode()))
            except UnauthenticatedError:
                print("refused")

        file.write_text("# as before\\n" + entry + "\\n")
        taken = use_up()
        for passed in (1, 58, 3, 1):
            now[0] += passed
            tell(filed)
            tell(fixed)
        give_back(taken)
        now[0] += 1
        tell(filed)
        """,
        tmp_path,
    )

    outcomes = [line for line in said if line.split()[0] in ("valid", "refused")]
    both, shut = ["valid filed", "valid fixed"], ["refused", "valid fixed"]
    assert [*both, *both, *shut, *shut, "valid filed"] == outcomes
    assert ["WARNING", "ERROR", "INFO"] == [line.split()[0] for line in said if line not in outcomes]


def test_a_first_explanation_fails_for_the_moment_and_the_next_one_is_given(tmp_path: Path) -> None:
    stored = store_model(tmp_path, small_contract())
    (tmp_path / "stored.json").write_text(json.dumps([dict(stored.labels), dict(stored.metadata)]))

    said = lines_of(
        """
        import json
        import numpy as np
        from scoring.models.imported_model import load_model
        from service.errors import ServiceError
        from service.prediction.lazy_explainer import LazyExplainer
        labels, metadata = json.loads((folder / "stored.json").read_text())
        model = load_model("m:v1", folder, labels, metadata, "champion")
        explainer = LazyExplainer(model)
        row = np.array([[f.default for f in model.contract.inputs]], dtype=np.float32)
        assert "sklearn" not in sys.modules
        taken = use_up()
        for _ in range(2):
            try:
                explainer.explain(row)
            except ServiceError as error:
                print(error.status, error.code, error.message)
        give_back(taken)
        print("explained", explainer.explain(row).contributions.shape[0])
        """,
        tmp_path,
    )

    answered = [line for line in said if not line.startswith("WARNING")]
    failed = "503 explainer_unavailable what explanations need cannot be read just now"
    assert [failed, failed, "explained 1"] == answered
    assert all("Too many open files" in line for line in said if line.startswith("WARNING"))


def test_a_challengers_file_that_cannot_be_read_just_now_takes_no_challenger_off(tmp_path: Path) -> None:
    said = lines_of(
        """
        from service.desired_models import desired_models, desired_models_at_start
        file = folder / "challenger.json"
        file.write_text('{"tag": "m:v2", "mode": "shadow"}')
        taken = use_up()
        try:
            print(desired_models("m:v1", file))
        except OSError:
            print("nothing is known")
        print(desired_models_at_start("m:v1", file).refusal)
        give_back(taken)
        print(desired_models("m:v1", file).challenge.tag)
        """,
        tmp_path,
    )

    assert ["nothing is known", f"{tmp_path}/challenger.json: cannot be read: Too many open files", "m:v2"] == said
