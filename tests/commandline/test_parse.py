"""Commands: files, flags, wandb's argument forms, help and errors."""

import shlex
import subprocess
import sys

import pytest
from pydantic import Field

from commandline import Command, Config, InputError, Names, main


class Tracking(Config):
    """Where the run is logged."""

    project: str | None = None
    """The project's name."""


class Settings(Config):
    """Do the work."""

    store: str
    """The store to read."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many."""
    levels: Names = None
    """The levels."""
    drop: bool = False
    """Drop the root."""
    wandb: Tracking = Tracking()
    """Tracking."""


def run(argv: list[str]) -> tuple[int, list[Settings]]:
    seen: list[Settings] = []
    return main("python -m work", {"work": Command(Settings, seen.append, "store")}, "work", argv), seen


def test_flags_and_positional_reach_the_function() -> None:
    status, seen = run(["a.zarr", "--limit", "3", "--levels", "order,family", "--wandb.project", "p"])
    assert status == 0
    assert seen == [Settings(store="a.zarr", limit=3, levels=["order", "family"], wandb=Tracking(project="p"))]


@pytest.mark.parametrize("flag", ["--limit=None", "--limit=null", "--levels=None", "--wandb.project=None"])
def test_none_in_wandb_form_is_none(flag: str) -> None:
    assert run(["--store=a", "--drop=True", flag])[1] == [Settings(store="a", drop=True)]


def test_none_inside_a_value_stays() -> None:
    assert run(["--store=Answer=None"])[1][0].store == "Answer=None"


def test_lists_in_wandb_form_parse() -> None:
    assert run(["--store=a", "--levels=['order', 'family']"])[1][0].levels == ["order", "family"]


def test_file_then_flag(tmp_path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("store: a\nlimit: 3\nlevels: [x, y]\n")
    assert run(["--config", str(file), "--limit", "5"])[1] == [Settings(store="a", limit=5, levels=["x", "y"])]


@pytest.mark.parametrize("bad", [["--store=a", "--limt=3"], ["--store=a", "--limit=0"], []])
def test_bad_settings_exit_with_two_and_name_the_key(bad: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(bad)
    assert exit_.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert any(key in message for key in ("limt", "limit", "arguments are required: store"))


def test_unknown_key_in_a_file_is_an_error(tmp_path, capsys) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("store: a\nlimt: 3\n")
    with pytest.raises(SystemExit) as exit_:
        run(["--config", str(file)])
    assert exit_.value.code == 2
    assert "limt" in capsys.readouterr().err


def test_help_shows_each_fields_docstring(capsys) -> None:
    with pytest.raises(SystemExit):
        run(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "At most this many." in text
    assert "Do the work." in text


def test_print_config_shows_the_whole(capsys) -> None:
    with pytest.raises(SystemExit):
        run(["--store=a", "--print_config"])
    out = capsys.readouterr().out
    assert all(line in out for line in ("store: a", "limit: null", "drop: false", "project: null"))


def test_input_error_is_one_line_and_two(capsys) -> None:
    def fail(_: Settings) -> None:
        raise InputError("the file x is empty; give another")

    assert main("p", {"work": Command(Settings, fail)}, "work", ["--store=a"]) == 2
    assert capsys.readouterr().err == "error: the file x is empty; give another\n"


def test_subcommand_by_name_and_unknown_command(capsys) -> None:
    seen: list[str] = []
    commands = {
        "one": Command(Settings, lambda c: seen.append("one")),
        "two": Command(Settings, lambda c: seen.append("two"), "store"),
    }
    assert main("p", commands, None, ["two", "a.zarr"]) == 0
    assert main("p", commands, None, ["three"]) == 2
    assert seen == ["two"]
    assert "one, two" in capsys.readouterr().err


def test_reader_that_leaves_early_is_no_error() -> None:
    """`python -m taxonomy images --help | head -1` and the like."""
    program = (
        "import sys; from commandline import Command, Config, main\n"
        "class C(Config):\n    'Print.'\n"
        "def run(c):\n    for i in range(200_000): print(i)\n"
        "sys.exit(main('p', {'work': Command(C, run)}, 'work', []))"
    )
    command = f"{sys.executable} -c {shlex.quote(program)} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout == "0\n"
    assert done.stderr == ""
