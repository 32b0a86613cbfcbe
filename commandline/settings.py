"""What a configuration's fields take, in words a user reads, and command-line arguments brought into that form."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def flat_fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting by its dotted name (`wandb.project`), those of nested models too."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from flat_fields(field.annotation, f"{above}{name}.")
        else:
            yield f"{above}{name}", field


def expected(field: FieldInfo) -> str:
    """What the setting takes: `a whole number above 0`, `one of mean, last`, `true or false`, ..."""
    choices = [_in_words(part, list(field.metadata)) for part in _alternatives(field.annotation) if part is not _NONE]
    return " or ".join(dict.fromkeys(choices))


def takes_none(field: FieldInfo) -> bool:
    """Whether the setting can be left undefined."""
    return _NONE in _alternatives(field.annotation)


def normalise(argv: Sequence[str], fields: Mapping[str, FieldInfo]) -> list[str]:
    """Arguments as the parser reads them, one `--key=value` each.

    wandb's and a shell user's ways of writing are brought together: `--limit None`, `--flag` alone for true, and
    `--list a,b`. `None` for a setting that cannot be undefined stands for leaving it out.
    """
    found: list[str] = []
    words = list(argv)
    while words:
        name, equals, value = words.pop(0).partition("=")
        field = fields.get(name.removeprefix("--")) if name.startswith("--") else None
        if field is None:
            found.append(name + equals + value)
            continue
        if not equals:
            bare = not words or words[0].startswith("--")
            if bare and bool not in _alternatives(field.annotation):
                found.append(name)  # the parser says that a value is missing
                continue
            value = "true" if bare else words.pop(0)
        if value in ("None", "null"):
            if takes_none(field):
                found.append(f"{name}=null")
            continue
        if not value.startswith("[") and _is_sequence(field):
            value = f"[{value}]"
        found.append(f"{name}={value}")
    return found


_NONE = type(None)
_BOUNDS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for option in get_args(annotation) for part in _alternatives(option)]
    return [annotation]


def _is_sequence(field: FieldInfo) -> bool:
    kinds = [part for part in _alternatives(field.annotation) if part is not _NONE]
    return all(get_origin(kind) in (list, tuple) for kind in kinds)


def _in_words(kind: Any, bounds: list[Any]) -> str:
    if get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        return _in_words(kind, [*bounds, *more])
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) in (list, tuple):
        parts = get_args(kind)
        inner = " or ".join(sorted({_in_words(part, []) for part in parts if part is not ...}))
        count = f"{len(parts)} values" if get_origin(kind) is tuple and ... not in parts else "values"
        return "names, separated by commas" if inner == "text" else f"{count} separated by commas, each {inner}"
    name = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(kind)
    limits = [
        f"{words} {getattr(bound, key):g}"
        for outer in bounds
        for bound in getattr(outer, "metadata", [outer])
        for key, words in _BOUNDS.items()
        if getattr(bound, key, None) is not None
    ]
    return " ".join([name or getattr(kind, "__name__", str(kind)), " and ".join(limits)]).strip()
