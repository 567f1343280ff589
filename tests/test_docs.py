"""README and docs: every command and Python block runs, every link leads somewhere, the site is built strictly."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner
from workplace import make_workplace

import sst_retrieval
from sst_retrieval.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")))
OTHERS = ("CONTRIBUTING.md", "RELEASING.md", "SECURITY.md", "indexes/README.md", "benchmarks/README.md")

NOT_RUN = {
    r"sst-retrieval (app|demo)\b": "a server; the whole road, which scripts/check_wheel.py takes",
    r"sst-retrieval weights fetch\b": "downloads; tests/nets/test_weights.py does from a server of its own",
    r"sst-retrieval fetch\b": "asks servers of others; tests/fetch does from a server of its own",
    r".*--checkpoint\b|.*--adapter\b": "needs Meta's weights; tests/track/sam2 makes small ones",
    r".*--outlines\b": "needs MobileSAM's weights; tests/nets/test_mobile_sam.py makes some at random",
    r".*indexes/bioclip|.*--embedder openclip": "needs BioCLIP's weights; tests/describe makes small ones",
    r"sst-retrieval finetune\b": "needs Meta's weights; tests/track/sam2 makes small ones",
    r"sst-retrieval doctor\b": "tests/cli/test_doctor.py",
    r"sst-retrieval review\b": "tests/cli/test_review.py, on an index of trays",
    r"sst-retrieval evaluate-propagator\b|sst-retrieval evaluate .*--protocol instances": "minutes; tests/evaluate",
    r"(SAM2_BUILD_CUDA=0 )?python3? -m (pip|venv)\b|python -m pip\b": "installs",
    r"make\b|source\b|pre-commit\b|ruff\b|python -m pytest\b": "sets up, tests",
    r"python (examples|scripts|benchmarks)/": "tests/test_examples.py; hours of training",
    r"Rscript\b": "tests/test_r.py, where R is",
    r"duckdb\b": "another program",
}
"""Commands that are not run here, and why; their options are checked all the same."""


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page, indented or not."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def commands(page: str) -> list[str]:
    """The commands of a page's blocks, one a line; lines that go on are joined."""
    lines = [line for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def reason_not_to_run(command: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, command)), None)


def run_command(command: str) -> str:
    """Run a command; returns what went wrong, "" if nothing."""
    words = shlex.split(command, comments=True)
    if words[0] != "sst-retrieval":
        return "nobody runs it; run it, or say in NOT_RUN why not"
    done = CliRunner().invoke(app, words[1:])
    return "" if done.exit_code == 0 else f"{done.output}\n{done.exception!r}"


def run_block(block: str, page: str) -> str:
    """Run a Python block; returns what went wrong, "" if nothing."""
    try:
        exec(compile(block, page, "exec"), {})
    except Exception as error:  # Whatever it is, the other blocks are run all the same.
        return f"{type(error).__name__}: {error}"
    return ""


def test_every_command_and_python_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test of all pages: they share a folder whose index takes most of the time to build."""
    make_workplace(tmp_path)
    monkeypatch.chdir(tmp_path)
    count, wrong = 0, []
    for page in PAGES:
        (tmp_path / "my_photographs" / "collection.csv").unlink(missing_ok=True)  # Another page may have written it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Small samples, tips of the tree without specimens.
            for command in commands(page):
                if not reason_not_to_run(command):
                    count += 1
                    wrong += [f"{page}: {command}\n{found}" for found in [run_command(command)] if found]
            for block in blocks(page, "python"):
                count += 1
                wrong += [f"{page}:\n{block}\n{found}" for found in [run_block(block, page)] if found]
    assert count > 40
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_commands_and_options_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    inline = [line for line in re.findall(r"`([^`\n]+)`", text) if line.startswith("sst-retrieval ")]
    indented = re.findall(r"^    (sst-retrieval .+)$", text, flags=re.MULTILINE)
    for line in [*commands(page), *inline, *indented]:
        if not line.startswith("sst-retrieval "):
            continue
        words = shlex.split(line.rstrip("\\"), comments=True)[1:]
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands") and words and not words[0].startswith("-"):
            name = "evaluate-propagator" if words[0] == "evaluate" and "--protocol" in words else words[0]
            if not re.fullmatch(r"[a-z0-9-]+", name):
                break  # `sst-retrieval export WHAT INDEX OUT`
            assert name in command.commands, f"{page}: {line}"
            command, words = command.commands[name], words[1:]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--install-completion", "--show-completion", "--protocol"}, f"{page}: {line}"


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_python_uses_public_names_only(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    used = set(re.findall(r"\bsst\.([A-Za-z_]+)\b(?!/)", "\n".join(blocks(page, "python"))))
    used |= set(re.findall(r"`sst\.([A-Za-z_]+)", text))
    assert used - set(sst_retrieval.__all__) - {"NAME"} == set()


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^( *)```.*?^\1```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    made = {"measured.md", "index-folder.md", "changes.md", "contributing.md", "reference/commands.md"}
    optional = {"scaling.md"}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = target.partition("#")[0]
        if "://" in target or not path or path in made | optional:
            continue
        assert (ROOT / page).parent.joinpath(path).exists(), f"{page}: {target}"


def test_every_extra_that_is_named_exists() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = set(project["optional-dependencies"])
    files = [*PAGES, *OTHERS, *(str(path.relative_to(ROOT)) for path in (ROOT / "sst_retrieval").rglob("*.py"))]
    for page in files:
        for extras in re.findall(r"sst-retrieval\[([a-z0-9,]+)\]", (ROOT / page).read_text(encoding="utf-8")):
            assert set(extras.split(",")) <= known, f"{page}: {extras}"


def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed (the extra docs)")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    commands_page = (tmp_path / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    python_page = (tmp_path / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    groups: Any = typer.main.get_command(app)
    assert [name for name in groups.commands if f'id="{name}"' not in commands_page] == []
    names = [name for name in sst_retrieval.__all__ if not name.startswith("__")]
    assert [name for name in names if f'.{name}"' not in python_page] == []
    loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', commands_page + python_page)
    assert [address for address in loaded if "canonical" not in address] == []
