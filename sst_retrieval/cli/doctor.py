"""`sst-retrieval doctor`."""

from __future__ import annotations

import typer

from sst_retrieval.cli import checks as doctor


def doctor_command() -> None:
    """Look for what is missing or broken on this computer."""
    checks = doctor.diagnose()
    typer.echo(doctor.report(checks))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
