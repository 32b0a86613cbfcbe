"""Turn pydantic models into commands: a YAML file, `--key value`, wandb's `--key=value`, help from docstrings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from jsonargparse import ArgumentParser, set_parsing_settings
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from commandline.errors import InputError

INTERRUPTED = 130
BROKEN_PIPE = 141


class Config(BaseModel):
    """A command's settings: frozen, and an unknown key is an error. A field's docstring is its help."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _split_names(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return None if value == "null" else [name.strip() for name in value.split(",") if name.strip()]


Names = Annotated[str | list[str] | None, BeforeValidator(_split_names)]
"""Names given as `a,b` on a command line or as a list in YAML; a list, or None, once validated."""


@dataclass(frozen=True)
class Command:
    """One command of a package: its settings and the function that takes them."""

    config: type[Config]
    run: Callable[[Any], int | None]
    positional: str | None = None
    """The field that may be given as the first bare word (`python -m probing STORE`)."""


def parse(prog: str, command: Command, argv: Sequence[str], epilog: str | None = None) -> Config:
    """The command's configuration from `argv`; exits with 2 and the reason when it does not fit (as argparse does)."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=prog, description=command.config.__doc__, epilog=epilog)
    parser.add_argument("--config", action="config", help="A YAML file with these settings; flags after it win.")
    parser.add_class_arguments(command.config, None, as_group=False)
    args = [_null(arg) for arg in argv]
    if command.positional and args and not args[0].startswith("-"):
        args[0] = f"--{command.positional}={args[0]}"
    namespace = parser.parse_args(args)
    settings = namespace.as_dict()
    settings.pop("config", None)
    try:
        return command.config.model_validate(settings)
    except ValidationError as error:
        parser.exit(2, f"error: {_sentence(error)}\n")
        raise  # parser.exit never returns


def main(
    prog: str, commands: Mapping[str, Command], default: str | None = None, argv: Sequence[str] | None = None
) -> int:
    """Run the command named by the first argument (or `default`) and return its exit status.

    `InputError` becomes one line on stderr and status 2; Ctrl-C becomes status 130.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    name = args.pop(0) if args and args[0] in commands else default
    if name is None:
        wanted = f"{args[0]!r} is not one of them" if args and not args[0].startswith("-") else "name one"
        print(f"usage: {prog} COMMAND ...\nerror: the commands are {', '.join(commands)}; {wanted}", file=sys.stderr)
        return 0 if args[:1] in (["-h"], ["--help"]) else 2
    others = [other for other in commands if other != name]
    epilog = f"Also: {', '.join(f'{prog} {other}' for other in others if other != default)}" if others else None
    config = parse(prog if name == default else f"{prog} {name}", commands[name], args, epilog)
    try:
        status = commands[name].run(config) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader (`| head`) has gone; without this the interpreter complains once more as it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return INTERRUPTED


def _null(arg: str) -> str:
    """wandb writes Python's `None` into `--key=None`; YAML, which reads the values, spells it `null`."""
    flag, _, value = arg.partition("=")
    return f"{flag}=null" if flag.startswith("--") and value == "None" else arg


def _sentence(error: ValidationError) -> str:
    parts = [f"--{'.'.join(str(key) for key in problem['loc'])}: {problem['msg']}" for problem in error.errors()]
    return "; ".join(parts)
