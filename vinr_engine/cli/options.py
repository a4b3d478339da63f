"""Options of a command from the fields of the dataclass that holds its arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any

import typer


def taking(kind: type[Any], without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a command whose first argument is a dict with values for fields of the dataclass ``kind``.

    The command line shows every field that was declared with help (see `video.job.option`), those of ``kind`` itself
    before those that it inherits, then the command's own parameters; but not those ``without``, which the command
    finds out by itself.
    """
    inherited = {field.name for base in kind.__mro__[1:-1] for field in fields(base)}
    chosen = [f for f in fields(kind) if "help" in f.metadata and f.name not in without]
    chosen.sort(key=lambda f: f.name in inherited)

    def decorate(run: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(run, eval_str=True).parameters.values())[1:]

        @functools.wraps(run)
        def command(**values: Any) -> None:
            given = {field.name: _value(field, values.pop(field.name)) for field in chosen}
            run(given, **values)

        parameters = sorted([*map(_parameter, chosen), *own], key=lambda p: p.default is not p.empty)
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _value(field: Field[Any], given: Any) -> Any:
    return field.default != given if field.metadata["kind"] is bool else given


def _parameter(field: Field[Any]) -> inspect.Parameter:
    facts, default = field.metadata, field.default
    kind, texts = facts["kind"], {"metavar": facts["metavar"], "help": facts["help"]}
    if default is MISSING:
        info, default = typer.Argument(**texts), inspect.Parameter.empty
    else:
        info = typer.Option(*facts["name"].split(), **texts, show_default=default is not None)
        if kind is bool:
            default = False
        elif default is None:
            kind = kind | None
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(field.name, place, default=default, annotation=Annotated[kind, info])
