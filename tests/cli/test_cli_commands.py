"""The list of commands costs nothing, every command can be asked for help, and a dataclass becomes options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import typer
from fakes import FAKES, a_collection_of
from typer.testing import CliRunner, Result

import sst_retrieval
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.cli import app
from sst_retrieval.cli.dataclass_options import options_of
from sst_retrieval.cli.main import COMMANDS
from sst_retrieval.engines import ModelOptions
from sst_retrieval.nets import weights

LIBRARIES = ("numpy", "pandas", "scipy", "duckdb", "faiss", "PIL", "torch", "timm", "matplotlib", "streamlit")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(sst_retrieval.__file__).parents[1])}


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, env=ENVIRONMENT)


def everything(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Go through the commands and those of groups: words that name it, the command."""
    for name, each in command.commands.items():
        yield (*words, name), each
        if hasattr(each, "commands"):
            yield from everything(each, *words, name)


# ------------------------------------------------------------------------------------------- the commands, when used


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "outlines", "index", "out.tps", "--trait", "band", "--trait=bar"), "--trait is given 2 times"),
        (("search", "index", "-k", "3", "-k", "4", "-k", "5"), "-k is given 3 times"),
    ],
)
def test_an_option_that_counts_once_is_not_given_twice(words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert f"{said} and counts once" in " ".join(done.output.split())


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"], []], ids=str)
def test_the_list_of_commands_loads_no_library(words: list[str]) -> None:
    code = (
        "import sys; from sst_retrieval.cli import app; app(sys.argv[1:], standalone_mode=False);"
        f"print([name for name in {LIBRARIES} if name in sys.modules])"
    )
    if not words:
        code = code.replace("app(sys.argv[1:], standalone_mode=False)", "pass")
    assert python("-c", code, *words).stdout.endswith("[]\n")


def test_a_command_loads_no_other_command() -> None:
    code = (
        "import sys; from sst_retrieval.cli import app; app(['weights', '--help'], standalone_mode=False);"
        "print(sorted(name for name in sys.modules if name.startswith('sst_retrieval.cli.')))"
    )
    loaded = python("-c", code).stdout.splitlines()[-1]
    assert "sst_retrieval.cli.weights" in loaded
    assert "sst_retrieval.cli.build" not in loaded
    assert "sst_retrieval.cli.search" not in loaded


def test_the_list_says_of_a_command_what_the_command_says() -> None:
    command: Any = typer.main.get_command(app)
    assert list(command.commands) == list(COMMANDS)
    for name, source in COMMANDS.items():
        assert " ".join(command.commands[name].help.split("\n\n")[0].split()) == source.help


def test_every_command_says_how_it_is_used() -> None:
    command: Any = typer.main.get_command(app)
    listed = run("--help").stdout
    for words, each in everything(command):
        assert words[0] in listed
        result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0
        assert f"{' '.join(words)} [OPTIONS]" in result.stdout
        options = [option for parameter in each.params for option in parameter.opts if option.startswith("-")]
        assert [option for option in options if option not in result.stdout] == []


def test_a_command_that_does_not_exist_is_refused_with_its_likes() -> None:
    result = run("serach")
    assert result.exit_code == 2
    assert "search" in result.stderr


def test_python_m_is_the_same_program() -> None:
    assert python("-m", "sst_retrieval", "--version").stdout == f"sst-retrieval {sst_retrieval.__version__}\n"


# -------------------------------------------------------------------------------------------------------- the protocol


def labelled(tmp_path: Path) -> Path:
    return a_collection_of(tmp_path / "collection").parent


def test_the_old_spelling_of_the_protocol_gives_the_same_scores(tmp_path: Path) -> None:
    collection = labelled(tmp_path)
    options = ["--protocol", "one-shot", "--supports-per-group", "2", "--seed", "3", "--propagator", FAKES.propagator]
    old = run("evaluate", collection, *options, "--json")
    new = run("evaluate-propagator", collection, *options, "--json")
    assert (old.exit_code, new.exit_code) == (0, 0)
    scores = json.loads(new.stdout)
    assert scores["propagator"] == "fake tracker"
    assert json.loads(old.stdout) == scores
    # Wherever the option stands, and however it is joined.
    joined = ["evaluate", *options[2:], "--protocol=one-shot", "--json", collection]
    assert json.loads(run(*joined).stdout) == scores
    table = run("evaluate-propagator", collection / "collection.csv", *options[2:]).stdout
    assert table.startswith("fake tracker\n\n")  # One shot, if nothing else is said; the table serves as well.


def test_the_number_of_supports_is_the_protocols(tmp_path: Path) -> None:
    collection = labelled(tmp_path)
    words = [collection, "--propagator", FAKES.propagator, "--json"]
    refused = run("evaluate-propagator", *words, "--protocol", "five-shot")
    assert refused.exit_code == 2  # Five of a kind; with five as supports, none is left.
    assert "no group has more than 5 labelled specimens" in refused.stderr
    assert run("evaluate", *words, "--protocol", "five-shot").stderr == refused.stderr
    assert "'six-shot'" in run("evaluate", *words, "--protocol", "six-shot").stderr


def test_a_protocol_wants_a_labelled_collection(tmp_path: Path) -> None:
    for words in (["evaluate", tmp_path, "--protocol", "one-shot"], ["evaluate-propagator", tmp_path]):
        result = run(*words)
        assert result.exit_code == 2
        assert "collection.csv is not there" in result.stderr


# ----------------------------------------------------------------------------------------------------------- weights


def test_weights_path_says_how_to_get_what_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.HOME_VARIABLE, str(tmp_path))
    result = run("weights", "path", "bioclip")
    assert (result.exit_code, result.stdout) == (0, f"{weights.get_path('bioclip')}\n")
    assert "it is not there yet" in result.stderr
    assert "sst-retrieval weights fetch bioclip" in result.stderr


def test_weights_that_nobody_knows_are_refused_with_the_names() -> None:
    for verb in ("path", "fetch"):
        result = run("weights", verb, "biocilp")
        assert (result.exit_code, result.stdout) == (2, "")
        assert [name for name in weights.WEIGHTS if name not in result.stderr] == []


# --------------------------------------------------------------------------------------------------------------- app


def test_what_the_app_is_told_reaches_streamlit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], dict[str, Any]]] = []
    server = SimpleNamespace(serve=lambda words, **how: asked.append((words, how)))
    monkeypatch.setattr("sst_retrieval.cli.start_app._import_server", lambda folder: server)
    table = a_collection_of(tmp_path)
    words = ["--images", tmp_path, "--images", tmp_path / "images", "--supports", tmp_path / "drawn"]
    words += ["--clip-model", "m", "--clip-pretrained", "p"]
    how = ["--port", "9000", "--allowed-host", "drawer.museum.example"]
    assert run("app", table, *words, *how).exit_code == 0
    served = {"address": "localhost", "port": 9000, "further_names": ("drawer.museum.example",)}
    assert asked == [([str(table), *map(str, words)], served)]


# -------------------------------------------------------------------------------------------- a dataclass as options


@dataclass(frozen=True, slots=True)
class Ink:
    colour: str = "black"
    thick: float = 0.5


@dataclass(frozen=True, slots=True)
class Drawing:
    width: int = 80
    ink: Ink = field(default_factory=Ink)
    names: tuple[str, ...] = ()
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Described:
    k: Annotated[int, typer.Option("-k", help="How many.", min=1)] = 3
    tags: Annotated[tuple[str, ...], typer.Option("--tag", help="Repeatable.")] = ()


GOT: list[Any] = []
"""What the commands below were called with."""

NAMED = {
    "thick": typer.Option(help="Millimetres."),
    "width": typer.Option(help="Columns."),
    "names": typer.Option("--name", help="Repeatable."),
    "dashed": typer.Option("--dashed", help="Broken."),
}


@options_of(Drawing, NAMED)
def draw(file: Path, drawing: Drawing) -> None:
    """Draw."""
    GOT.append((file, drawing))


@options_of(Described)
def describe(described: Described) -> None:
    GOT.append(described)


def called(command: Any, *words: str) -> Any:
    """Call a command with words; returns what it was called with."""
    small = typer.Typer(add_completion=False)
    small.command()(command)
    GOT.clear()
    result = CliRunner().invoke(small, words)
    assert result.exit_code == 0, result.output
    return GOT.pop()


def test_a_dataclass_without_words_is_its_defaults() -> None:
    assert called(draw, "a.png") == (Path("a.png"), Drawing())
    assert called(describe) == Described()


def test_words_fill_the_dataclass_and_those_inside() -> None:
    words = ["--thick", "2", "--name", "a", "--name", "b", "--dashed", "a.png"]
    assert called(draw, *words) == (Path("a.png"), Drawing(80, Ink("black", 2.0), ("a", "b"), True))
    assert called(describe, "-k", "5", "--tag", "x") == Described(5, ("x",))


def test_only_the_fields_that_are_named_are_options_in_their_order() -> None:
    small = typer.Typer(add_completion=False)
    small.command()(draw)
    text = CliRunner().invoke(small, ["--help"], env={"COLUMNS": "120"}).stdout
    assert "--colour" not in text
    assert "[default: 0.5]" in text
    assert sorted(("--thick", "--width", "--name", "--dashed"), key=text.index) == [
        "--thick",
        "--width",
        "--name",
        "--dashed",
    ]


def test_a_bound_of_an_option_is_kept() -> None:
    small = typer.Typer(add_completion=False)
    small.command()(describe)
    assert CliRunner().invoke(small, ["-k", "0"]).exit_code == 2


def test_an_option_for_a_field_that_does_not_exist_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="hieght"):
        options_of(Drawing, {"hieght": typer.Option()})
    with pytest.raises(AssertionError, match="width"):
        options_of(Drawing)  # No field carries an option in its type.


def test_every_option_of_a_build_reaches_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the names are unlike their defaults, so one that gets lost is noticed."""
    got: list[BuildSettings] = []

    class Report:
        def text(self) -> str:
            return "done"

    def build(*paths: Path, settings: BuildSettings, progress: object) -> Report:
        got.append(settings)
        return Report()

    monkeypatch.setattr("sst_retrieval.cli.build.build_index", build)
    words = ["build", "t.csv", "--supports", "s", "--output", "o", "--images", "i", "--id-column", "a"]
    words += ["--image-column", "b", "--group-column", "c", "--propagator", "p:P", "--embedder", "e:E"]
    words += ["--checkpoint", "x.pt", "--sam2-config", "x.yaml", "--cycle-consistency", "--clip-model", "m"]
    words += ["--clip-pretrained", "n", "--clip-pooling", "crop", "--adapter", "d", "--adapter", "e", "--batch", "3"]
    words += ["--device", "cuda", "--prune", "--rebuild", "--groups", "g", "--groups", "h", "--workers", "2"]
    words += ["--reread", "--refit"]
    assert run(*words).exit_code == 0
    models = ModelOptions("x.pt", Path("x.yaml"), True, "m", "n", "crop", (Path("d"), Path("e")), 3)
    first = (Path("i"), "a", "b", "c", "p:P", "e:E", "cuda", models, True, True, ("g", "h"))
    assert got == [BuildSettings(*first, workers=2, reread=True, refit=True)]


def test_init_writes_the_table_of_a_folder_of_photographs(table: Path) -> None:
    folder = table.parent / "images"
    for words in (
        ("build", str(folder), "--supports", str(folder), "--output", str(folder / "i")),
        ("app", str(folder)),
    ):
        refused = run(*words)
        assert refused.exit_code == 2
        assert f"sst-retrieval init {folder}" in refused.stderr
    written = run("init", str(folder))
    assert written.exit_code == 0
    assert f"{folder / 'collection.csv'}: 10 photographs" in written.stdout
    assert "is not replaced" in run("init", str(folder)).stderr


def test_an_error_of_the_disk_is_a_line_without_its_number(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    (folder / ("x" * 250)).mkdir()
    result = run("init", folder / ("y" * 300))
    assert result.exit_code == 2
    assert "Errno" not in result.output
