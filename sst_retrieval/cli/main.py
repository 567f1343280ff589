"""The commands, and what happens to an error."""

from __future__ import annotations

import signal
from typing import Annotated, Any

import typer

import sst_retrieval
from sst_retrieval.cli.lazy import CommandSource, LazyGroup
from sst_retrieval.errors import SSTError
from sst_retrieval.files import explain_os_error

REFUSED = 2
STOPPED = 128 + signal.SIGINT
"""Exit codes: the command cannot be carried out; the user stopped it (128 + SIGINT, as in a shell)."""


def _command(module: str, attribute: str, text: str) -> CommandSource:
    return CommandSource(f"sst_retrieval.cli.{module}", attribute, text)


COMMANDS = {
    "init": _command(
        "init",
        "init_command",
        "Write the table of a folder of photographs: one row a photograph, groups from sub-folders.",
    ),
    "fetch": _command(
        "fetch",
        "fetch_command",
        "Fetch the photographs that a table or a Darwin Core Archive names by their web addresses.",
    ),
    "build": _command(
        "build",
        "build_command",
        "Find the annotated traits on every photograph of a table, and make them searchable.",
    ),
    "search": _command(
        "search",
        "search_command",
        "Find the specimens whose trait looks most like a given one, or fits a description in plain words.",
    ),
    "review": _command(
        "review",
        "review_command",
        "Decide on the individuals of photographs that may show several; without a decision, list what was decided.",
    ),
    "export": _command("export", "app", "Write what an index holds to files that other programs read."),
    "push": _command(
        "push", "push_command", "Copy an index into a store such as S3, or bring its copy there up to date."
    ),
    "pull": _command("push", "pull_command", "Copy an index from a store into a folder, or bring that up to date."),
    "evaluate": _command(
        "evaluate", "evaluate_command", "Compare masks with labels, and the search with a column of the table."
    ),
    "evaluate-propagator": _command(
        "evaluate_propagator",
        "evaluate_propagator_command",
        "Measure a propagator on a labelled collection, with randomly drawn supports.",
    ),
    "audit": _command(
        "audit",
        "audit_command",
        "Say what else the similarity knows: pose, background, photographer, or any column of the table.",
    ),
    "info": _command("info", "info_command", "Say what is in an index and how it was made."),
    "verify": _command(
        "verify",
        "verify_command",
        "Read an index wholly, compare it with its checksums, and say what is damaged, what is lost and what to do.",
    ),
    "doctor": _command("doctor", "doctor_command", "Look for what is missing or broken on this computer."),
    "finetune": _command(
        "finetune",
        "finetune_command",
        "Teach a model one group from its annotated specimen and unlabelled photographs (one-shot cycle consistency).",
    ),
    "weights": _command("weights", "app", "Weights of SAM 2, OpenCLIP and BioCLIP: list and fetch them."),
    "app": _command("start_app", "app_command", "See, search, draw and review in the browser."),
    "demo": _command(
        "demo",
        "demo_command",
        "Make a synthetic museum drawer, find the traits from one label a species, search by trait, and keep score.",
    ),
}
"""In the order they are listed; a test compares each line with the help of the command itself."""


class Commands(LazyGroup):
    """Prints errors as lines for people; one that is neither ours nor the disk's is a bug and keeps its traceback."""

    sources = COMMANDS

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; `evaluate COLLECTION --protocol ...` is the old spelling of `evaluate-propagator`."""
        name, *rest = args
        if name == "evaluate" and any(word.partition("=")[0] == "--protocol" for word in rest):
            args = ["evaluate-propagator", *rest]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # The reader closed the pipe (`... | head`); the caller ends quietly.
        except (SSTError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            text = explain_os_error(error) if isinstance(error, OSError) else str(error)
            typer.echo("\n".join([f"error: {text}", *getattr(error, "__notes__", ())]), err=True)
            raise typer.Exit(REFUSED) from error
        except KeyboardInterrupt as error:
            if ctx.params.get("debug"):
                raise
            typer.echo("stopped", err=True)
            raise typer.Exit(STOPPED) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sst-retrieval {sst_retrieval.__version__}")
        raise typer.Exit


@app.callback()
def set_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Annotate one specimen, find its traits on every other specimen, then search the collection by trait."""


def main() -> None:
    """Run the command line."""
    app()
