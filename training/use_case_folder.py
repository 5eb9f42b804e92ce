"""Loads the use case that the variable `USE_CASE` names."""

import importlib
import importlib.machinery
import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from artefacts.addresses import PROJECT_ROOT, Artefacts
from training.errors import UseCaseError
from training.use_case import UseCase

_LOG = logging.getLogger(__name__)

_FILE = "use_case.py"
_NAME = "USE_CASE"


def current_use_case() -> UseCase:
    """The use case that the environment names, or the default one.

    Raises:
        UseCaseError: see `load_use_case`.
    """
    return load_use_case(Artefacts.of(os.environ).use_case)


def name_of_folder(folder: Path) -> str:
    """Name of a use case's folder that is the same in every checkout: its path in the project, or its own name."""
    resolved = folder.resolve()
    return resolved.relative_to(PROJECT_ROOT).as_posix() if resolved.is_relative_to(PROJECT_ROOT) else resolved.name


@cache
def load_use_case(folder: Path) -> UseCase:
    """Import `use_case.py` of a folder and take its `USE_CASE`.

    Raises:
        UseCaseError: there is no such file, it cannot be imported, or it defines no use case. The traceback of an
            import goes to the log.
    """
    file = folder / _FILE
    if not file.is_file():
        here = ", ".join(name_of_folder(found.parent) for found in sorted(PROJECT_ROOT.glob(f"*/*/{_FILE}")))
        raise UseCaseError(f"USE_CASE: {file} does not exist; name a folder with a {_FILE}, as {here}")
    found = getattr(_imported_or_refused(file), _NAME, None)
    if not isinstance(found, UseCase):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise UseCaseError(f"USE_CASE: {file} defines {what} as {_NAME}; it must be a training.use_case.UseCase")
    return found


def function_of(file: Path, name: str) -> Callable[..., Any] | None:
    """A function of a module in a use case's folder, as `fetch` of `data.py`; None if there is no such module.

    Raises:
        UseCaseError: the module cannot be imported, or has no such function.
    """
    if not file.is_file():
        return None
    found = getattr(_imported_or_refused(file), name, None)
    if not callable(found):
        raise UseCaseError(f"USE_CASE: {file} defines no function {name!r}; docs/use-cases.md says what it takes")
    function: Callable[..., Any] = found
    return function


def _imported_or_refused(file: Path) -> ModuleType:
    try:
        return _imported(file)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        _LOG.exception("the traceback of %s", file)
        said = (str(error).splitlines() or [""])[0] + _remedy(error, file.parent)
        raise UseCaseError(f"USE_CASE: {file} cannot be imported: {type(error).__name__}: {said}") from None


def _imported(file: Path) -> ModuleType:
    resolved = file.resolve()
    if resolved.is_relative_to(PROJECT_ROOT):
        return importlib.import_module(".".join(resolved.relative_to(PROJECT_ROOT).with_suffix("").parts))
    package = f"use_case_of_{resolved.parent.name}"
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]  # of another folder with this name
    spec = importlib.machinery.ModuleSpec(package, None, is_package=True)
    spec.submodule_search_locations = [str(resolved.parent)]
    sys.modules[package] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{package}.{resolved.stem}")


def _remedy(error: BaseException, folder: Path) -> str:
    """What to write instead of `from labels import …` for a module beside `use_case.py`."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if name and (folder / f"{name}.py").is_file():
        return f"; for the {name}.py of this folder write `from .{name} import …`"
    return ""
