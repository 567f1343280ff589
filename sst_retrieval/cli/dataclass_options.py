"""A frozen dataclass as the options of a command, so that Python and the command line share fields and defaults.

    @dataclass(frozen=True, slots=True)
    class Size:
        width: int = 80
        names: tuple[str, ...] = ()

    @options_of(Size, {"width": typer.Option(help="Columns."), "names": typer.Option("--name", help="Repeatable.")})
    def draw(file: Path, size: Size) -> None: ...

`draw` is then a command with the argument FILE and the options --width and --name; it is called with a `Size`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from typer.models import OptionInfo

Settings = TypeVar("Settings")


def options_of(
    settings: type, options: Mapping[str, OptionInfo] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for every field of a dataclass, and call it with the dataclass.

    A dataclass inside the dataclass gives its fields, too. A tuple of any length becomes an option that may be
    repeated.

    Args:
        settings: a frozen dataclass, every field of which has a default. The command has one parameter of this type.
        options: name of a field -> its option, in the order of the help. Fields that it does not name keep their
            default and are no options. None: every field carries its option in its own type,
            `Annotated[int, typer.Option(...)]`.
    """
    defaults = settings()
    parameters = {name: _make_parameter(name, hint, value, options) for name, hint, value in _list_fields(defaults)}
    wanted = list(parameters if options is None else options)
    assert set(wanted) <= set(parameters), f"{settings.__name__} has no {', '.join(set(wanted) - set(parameters))}"

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        (place,) = [name for name, hint in hints.items() if hint is settings]

        @wraps(command)
        def call_command(**values: Any) -> None:
            given = {name: values.pop(name) for name in wanted}
            command(**values, **{place: _replace_fields(defaults, given)})

        own = [
            each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for each in inspect.signature(command).parameters.values()
            if each.name != place
        ]
        signature = inspect.Signature([*own, *(parameters[name] for name in wanted)])
        call_command.__signature__ = signature  # type: ignore[attr-defined]
        call_command.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
        return call_command

    return decorate


def _list_fields(defaults: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fields and those of dataclasses inside: name, type, default."""
    hints = get_type_hints(type(defaults), include_extras=True)
    for field in fields(defaults):
        value = getattr(defaults, field.name)
        if is_dataclass(value):
            yield from _list_fields(value)
        else:
            yield field.name, hints[field.name], value


def _make_parameter(name: str, hint: Any, value: Any, options: Mapping[str, OptionInfo] | None) -> inspect.Parameter:
    """Describe a field as typer wants a parameter described."""
    kind, option = get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, None)
    if options is not None:
        option = options.get(name)
    assert options is not None or isinstance(option, OptionInfo), f"the field {name} carries no typer.Option"
    if get_origin(kind) is tuple:
        kind, value = list[get_args(kind)[0]] | None, None  # type: ignore[misc]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=Annotated[kind, option])


def _replace_fields(defaults: Settings, given: Mapping[str, Any]) -> Settings:
    """Return the settings with the values of the command line."""
    changes: dict[str, Any] = {}
    for field in fields(defaults):  # type: ignore[arg-type]
        value = getattr(defaults, field.name)
        if is_dataclass(value):
            changes[field.name] = _replace_fields(value, given)
        elif field.name in given:
            new = given[field.name]
            changes[field.name] = tuple(new or ()) if isinstance(value, tuple) else new
    return replace(defaults, **changes)  # type: ignore[type-var]
