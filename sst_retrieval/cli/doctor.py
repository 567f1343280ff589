"""`sst-retrieval doctor`."""

from __future__ import annotations

import typer

from sst_retrieval.cli import checks


def doctor_command() -> None:
    """Look for what is missing or broken on this computer."""
    results = checks.diagnose()
    typer.echo(checks.format_checks(results))
    if not all(check.ok for check in results):
        raise typer.Exit(1)
