"""A group of commands that are imported when they are used, so that `--help` costs no library but typer's own."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption


class OnceCommand(TyperCommand):
    """A command that refuses an option which is given twice and would count once: which one was meant?"""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line.

        Raises:
            UsageError: an option that takes one value is given several times.
        """
        if not ctx.resilient_parsing:  # A shell that completes words asks about half a line.
            _, _, given = self.make_parser(ctx).parse_args(list(args))
            for each, times in Counter(given).items():
                if isinstance(each, TyperOption) and times > 1 and not (each.multiple or each.count):
                    ctx.fail(f"{each.opts[0]} is given {times} times and counts once: give it once")
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class CommandSource:
    """Where a command is defined, and what the list of commands says about it.

    Attributes:
        module: its module, in full.
        attribute: there, the function that is the command, or the `typer.Typer` of a group of commands.
        help: one line; the same as the first paragraph of the command's own help.
    """

    module: str
    attribute: str
    help: str

    def load(self, name: str) -> Any:
        """Import the command; returns a click command of that name."""
        found = getattr(importlib.import_module(self.module), self.attribute)
        parent = typer.Typer(add_completion=False)
        if isinstance(found, typer.Typer):
            for each in found.registered_commands:
                each.cls = OnceCommand
            # Only inside another group does a group get its name.
            parent.add_typer(found, name=name)
            return cast(Any, typer.main.get_command(parent)).commands[name]
        parent.command(name, cls=OnceCommand)(found)
        return typer.main.get_command(parent)


class LazyCommands(Mapping[str, Any]):
    """Name -> click command, which is imported when it is looked up."""

    def __init__(self, sources: Mapping[str, CommandSource]) -> None:
        """Take the sources of the commands; none is imported."""
        self._sources = sources
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return a command, imported at the first call."""
        if name not in self._loaded:
            self._loaded[name] = self._sources[name].load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order they are listed."""
        return iter(self._sources)

    def __len__(self) -> int:
        """Count the commands."""
        return len(self._sources)


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are used; a subclass names them in `sources`."""

    sources: Mapping[str, CommandSource] = {}

    def __init__(self, **settings: Any) -> None:
        """Keep typer's settings, but not the (empty) table of commands that comes with them."""
        super().__init__(**settings)
        self.commands = cast(Any, LazyCommands(self.sources))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names; typer's own would import every command."""
        return list(self.sources)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return what the list of commands says about one: its name and its line of help, nothing imported."""
        source = self.sources.get(cmd_name)
        return None if source is None else TyperCommand(cmd_name, help=source.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was asked for, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        # A name that is not known has been refused; click returns None only while a shell completes words.
        return name, None if command is None else self.commands[cast(str, name)], rest
