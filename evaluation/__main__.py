"""`python -m evaluation`: put a bank's questions to a model; read its answers again; compare two runs."""

import sys

from commandline import Command, main
from evaluation.config import AskConfig, CompareConfig, ReparseConfig, ZeroShotConfig


def _ask(config: AskConfig) -> None:
    from evaluation.run import run

    run(config)


def _reparse(config: ReparseConfig) -> None:
    from evaluation.report import reparse

    reparse(config)


def _compare(config: CompareConfig) -> None:
    from evaluation.compare import run

    run(config)


def _zero_shot(config: ZeroShotConfig) -> None:
    from evaluation.zero_shot import run

    run(config)


RESUMES = "what was answered is kept, and the same command goes on from there"

COMMANDS = {
    "ask": Command(AskConfig, _ask, after_interrupt=RESUMES),
    "zero_shot": Command(ZeroShotConfig, _zero_shot, after_interrupt=RESUMES),
    "reparse": Command(ReparseConfig, _reparse, "run"),
    "compare": Command(CompareConfig, _compare, "run"),
}


def _two_runs(argv: list[str]) -> list[str]:
    """`compare RUN RUN`: the second bare word is --against."""
    if argv[:1] == ["compare"] and len(argv) > 2 and not argv[1].startswith("-") and not argv[2].startswith("-"):
        return [*argv[:2], f"--against={argv[2]}", *argv[3:]]
    return argv


if __name__ == "__main__":
    sys.exit(main("python -m evaluation", COMMANDS, "ask", _two_runs(sys.argv[1:])))
