"""Check the package as people get it: build it, install the wheel away from the checkout, and use it there.

    python scripts/check_wheel.py                 # a fresh environment, everything from the package index
    python scripts/check_wheel.py --borrow        # seconds: borrow the packages that are installed here

1. Build the source package, and from it the wheel; both must hold what the program needs and nothing else.
2. Make a virtual environment in a temporary folder and install the wheel into it. With `--borrow` the environment sees,
   of all packages installed here, those that the wheel depends on, and no other: one that is not declared is missed.
3. From another folder, without the checkout: version, `python -m sst_retrieval`, `doctor`, every module of the package,
   the demo, a search by Python and by command, the app's first page over HTTP.

Prints how long each step took and what the environment takes on the disk.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTION = "sst-retrieval"
APP_TIMEOUT = 120
"""Seconds within which the app must answer."""

IN_WHEEL = (
    *("sst_retrieval/py.typed", "sst_retrieval/__init__.pyi", "sst_retrieval_app/Home.py"),
    *("sst_retrieval/track/sam2/tracker.pt", "sst_retrieval/track/sam2/tracker.yaml"),
    *("sst_retrieval/track/dense/decoder.pt", "sst_retrieval/track/dense/MODEL_CARD.md"),
    "sst_retrieval/find/common_look.npy",
)
IN_SOURCE = ("pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "tests/", "docs/", "app/", "scripts/")
NOT_IN_WHEEL = ("tests/", "docs/", "scripts/", "benchmarks/", "examples/")

OPTIONAL = ("sam2", "open_clip", "hydra", "omegaconf")
"""What modules of models that are extras may lack."""

IMPORT_EVERYTHING = """
import importlib, pkgutil, sst_retrieval
from pathlib import Path
assert "site-packages" in sst_retrieval.__file__, sst_retrieval.__file__
names = [each.name for each in pkgutil.walk_packages(sst_retrieval.__path__, "sst_retrieval.")]
for name in names:
    if not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name.partition(".")[0] not in OPTIONAL:
                raise
for name in sst_retrieval.__all__:
    getattr(sst_retrieval, name)
print(len(names), "modules import from", Path(sst_retrieval.__file__).parent)
"""

SEARCH = """
import sst_retrieval as sst
with sst.open_index("drawer/index") as index:
    row = index.trait_table("forewing_band").pandas().iloc[0]
    hits = index.search(like=(row["specimen"], "forewing_band"), k=3)
    assert len(hits) == 3 and hits[0].mask().any()
    print(row["specimen"])
"""


def main() -> None:
    """Run the check."""
    options = read_arguments()
    with tempfile.TemporaryDirectory(prefix="check-wheel-") as name:
        folder = Path(name)
        with timed("build"):
            wheel, source = build(folder / "dist")
        check_contents(wheel, source)
        with timed("install"):
            python = install(wheel, folder / "venv", borrow=options.borrow)
        if not options.borrow:
            print(f"the environment takes {size_of(folder / 'venv') / 1e6:,.0f} MB")
        away = folder / "away"
        away.mkdir()
        use(python, away, specimens=options.specimens)
    print("the wheel works")


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--borrow", action="store_true", help="borrow the packages that are installed here")
    parser.add_argument("--specimens", type=int, default=18, help="how many the demo draws")
    return parser.parse_args()


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Print how long a step took."""
    start = time.monotonic()
    yield
    print(f"{step}: {time.monotonic() - start:.0f} s", flush=True)


def run(words: Sequence[str | Path], cwd: Path) -> str:
    """Run a command without the settings of the one who calls; returns what it prints.

    Raises:
        SystemExit: it failed; its output is printed.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, env=kept, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}\nfailed ({done.returncode}):\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """Build the source package, and from it the wheel.

    Returns:
        The wheel and the source package.
    """
    run([sys.executable, "-m", "build", "--outdir", folder, ROOT], ROOT)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def check_contents(wheel: Path, source: Path) -> None:
    """Check that both packages hold what they should.

    Raises:
        SystemExit: something is missing or too much.
    """
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
    with tarfile.open(source) as archive:
        shipped = [member.name.partition("/")[2] for member in archive.getmembers()]
    wrong = [f"{wheel.name} lacks {name}" for name in IN_WHEEL if not any(each.startswith(name) for each in inside)]
    wrong += [f"{wheel.name} holds {each}" for each in inside if each.startswith(NOT_IN_WHEEL)]
    wrong += [f"{source.name} lacks {name}" for name in IN_SOURCE if not any(each.startswith(name) for each in shipped)]
    if wrong:
        raise SystemExit("\n".join(wrong))
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {source.name}: {source.stat().st_size / 1e6:.1f} MB")


def install(wheel: Path, folder: Path, *, borrow: bool) -> Path:
    """Make an environment with the wheel and the extra `app` in it.

    Returns:
        Its Python.
    """
    venv.create(folder, with_pip=not borrow, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if borrow:
        packages = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
        borrow_packages(packages, ("app",))
        run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel], folder)
    else:
        run([python, "-m", "pip", "install", f"{DISTRIBUTION}[app] @ {wheel.as_uri()}"], folder)
    return python


def borrow_packages(packages: Path, extras: Sequence[str]) -> None:
    """Link into an environment what the program depends on, as installed here.

    Args:
        packages: the environment's folder of packages.
        extras: of the program.

    Raises:
        SystemExit: a package is not installed here.
    """
    for found in dependencies(extras):
        for file in found.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (packages / top).exists():
                (packages / top).symlink_to(Path(str(found.locate_file(top))))


def dependencies(extras: Sequence[str]) -> list[importlib.metadata.Distribution]:
    """List what the program depends on, and what that depends on, without the program.

    Raises:
        SystemExit: one of them is not installed here.
    """
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # Of pyproject.toml, not of what is installed here, which may be older.
    open_ends = list(project["dependencies"])
    for extra in extras:
        open_ends += project["optional-dependencies"][extra]
    found: dict[str, importlib.metadata.Distribution] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    while open_ends:
        requirement = Requirement(open_ends.pop())
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in done:
            continue
        done.add(key)
        try:
            found[key[0]] = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit(f"{requirement} is not installed here; run without --borrow") from None
        for line in found[key[0]].requires or ():
            further = Requirement(line)
            wanted = [{"extra": extra} for extra in ("", *requirement.extras)]
            if further.marker is None or any(further.marker.evaluate(each) for each in wanted):
                open_ends.append(line)
    return list(found.values())


def size_of(folder: Path) -> int:
    """Add up the sizes of the files in a folder, in bytes."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink() and path.is_file())


def use(python: Path, away: Path, *, specimens: int) -> None:
    """Use the installed program from a folder that is not the checkout.

    Raises:
        SystemExit: something does not work.
    """
    command = python.parent / ("sst-retrieval.exe" if os.name == "nt" else "sst-retrieval")
    print(run([command, "--version"], away).strip())
    print(run([python, "-I", "-c", f"OPTIONAL = {OPTIONAL}\n{IMPORT_EVERYTHING}"], away).strip())
    if run([python, "-m", "sst_retrieval", "--version"], away) != run([command, "--version"], away):
        raise SystemExit("python -m sst_retrieval is not sst-retrieval")
    with timed("doctor"):
        run([command, "doctor"], away)
    with timed(f"demo of {specimens} specimens"):
        run([command, "demo", "drawer", "--specimens", str(specimens)], away)
    with timed("search"):
        specimen = run([python, "-I", "-c", SEARCH], away).strip()
        text = run([command, "search", "drawer/index", "--like", specimen, "--trait", "forewing_band", "-k", "3"], away)
        if len(text.splitlines()) < 3:
            raise SystemExit(f"the search found nothing:\n{text}")
    with timed("app"):
        check_app(command, away)


def check_app(command: Path, away: Path) -> None:
    """Start the app and fetch its first page.

    Raises:
        SystemExit: it does not answer.
    """
    with (away / "app.log").open("w") as log:
        server = subprocess.Popen([command, "app", "drawer/index"], cwd=away, stdout=log, stderr=subprocess.STDOUT)
    try:
        address, end = "", time.monotonic() + APP_TIMEOUT
        while not address and time.monotonic() < end and server.poll() is None:
            said = (away / "app.log").read_text()
            address = next((word.strip(".,") for word in said.split() if word.startswith("http://localhost")), "")
            time.sleep(0.2)
        if not address:
            raise SystemExit(f"the app does not start:\n{(away / 'app.log').read_text()}")
        with urllib.request.urlopen(address, timeout=30) as answer:
            page = answer.read().decode()
        if "<title>" not in page:
            raise SystemExit(f"{address} answers with no page:\n{page[:500]}")
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            raise SystemExit("the app does not end when it is told to") from None


if __name__ == "__main__":
    if shutil.which("git") and sys.prefix == sys.base_prefix:
        print("note: run in an environment that has the package `build`", file=sys.stderr)
    main()
