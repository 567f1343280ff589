"""The commands, and what happens to an error."""

from __future__ import annotations

import signal
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import sst_retrieval
from sst_retrieval.cli import (
    auditing,
    building,
    demonstration,
    exporting,
    finetuning,
    looking,
    scoring,
    searching,
    showing,
)
from sst_retrieval.cli.weighing import weights_app
from sst_retrieval.errors import SSTError

REFUSED = 2
STOPPED = 128 + signal.SIGINT
"""Exit codes: what was asked for cannot be done; a person stopped it, as a shell says it."""


class Explaining(TyperGroup):
    """Says errors in a line for a person; one that is neither ours nor the disk's is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # Somebody closed the pipe (`... | head`); the caller ends quietly.
        except (SSTError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            typer.echo("\n".join([f"error: {error}", *getattr(error, "__notes__", ())]), err=True)
            raise typer.Exit(REFUSED) from error
        except KeyboardInterrupt as error:
            if ctx.params.get("debug"):
                raise
            typer.echo("stopped", err=True)
            raise typer.Exit(STOPPED) from error


app = typer.Typer(
    cls=Explaining,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("build")(building.build_command)
app.command("search")(searching.search_command)
app.add_typer(exporting.app, name="export")
app.command("evaluate")(scoring.evaluate_command)
app.command("audit")(auditing.audit_command)
app.command("info")(looking.info_command)
app.command("doctor")(looking.doctor_command)
app.command("finetune")(finetuning.finetune_command)
app.add_typer(weights_app, name="weights")
app.command("app")(showing.app_command)
app.command("demo")(demonstration.demo_command)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sst-retrieval {sst_retrieval.__version__}")
        raise typer.Exit


@app.callback()
def everything(
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Annotate one specimen, find its traits on every other specimen, then search the collection by trait."""


def main() -> None:
    """Run the command line."""
    app()
