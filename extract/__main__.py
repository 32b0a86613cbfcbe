"""`python -m extract`: activations of images and texts into a store; plan, verify and describe stores."""

import sys

from commandline import Command, main
from extract.config import ExtractConfig, InfoConfig, TextConfig, VerifyConfig


def _extract(config: ExtractConfig) -> None:
    from extract.run import run

    run(config)


def _plan(config: ExtractConfig) -> None:
    from extract.plan import run

    run(config)


def _text(config: TextConfig) -> None:
    from extract.text import run

    run(config)


def _verify(config: VerifyConfig) -> int:
    from extract.verify import run

    return run(config)


def _info(config: InfoConfig) -> None:
    from extract.info import run

    run(config)


RESUMES = "what was finished is kept, and the same command goes on from there"

COMMANDS = {
    "images": Command(ExtractConfig, _extract, after_interrupt=RESUMES),
    "plan": Command(ExtractConfig, _plan),
    "text": Command(TextConfig, _text, after_interrupt=RESUMES),
    "verify": Command(VerifyConfig, _verify, "store"),
    "info": Command(InfoConfig, _info, "store"),
}

if __name__ == "__main__":
    sys.exit(main("python -m extract", COMMANDS, "images"))
