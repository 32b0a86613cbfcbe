"""`python -m analysis report RUN`: a probe run as one HTML file."""

import json
import sys

from analysis.bottleneck.config import VerdictConfig
from analysis.config import CompareConfig, ReportConfig
from analysis.erasure.config import EraseConfig
from analysis.geometry.config import GeometryConfig, UnembeddingConfig
from commandline import Command, main


def _report(config: ReportConfig) -> None:
    from analysis.report import run

    run(config)


def _compare(config: CompareConfig) -> None:
    from analysis.compare.run import run

    run(config)


def _erase(config: EraseConfig) -> None:
    from analysis.erasure.run import run

    run(config)


def _geometry(config: GeometryConfig) -> None:
    from analysis.geometry.run import run

    run(config)


def _unembedding(config: UnembeddingConfig) -> None:
    from analysis.geometry.unembedding import run

    run(config)


def _verdict(config: VerdictConfig) -> None:
    from analysis.bottleneck.run import run

    run(config)


KEPT = "the model's answers are kept; the same command goes on from there"
SITES_KEPT = "finished sites are kept; the same command goes on from there"

COMMANDS = {
    "report": Command(ReportConfig, _report, "run"),
    "compare": Command(CompareConfig, _compare, "runs"),
    "verdict": Command(VerdictConfig, _verdict, "run"),
    "geometry": Command(GeometryConfig, _geometry, "store", after_interrupt=SITES_KEPT),
    "unembedding": Command(UnembeddingConfig, _unembedding, "model"),
    "erase": Command(EraseConfig, _erase, "store", after_interrupt=KEPT),
}


def _all_runs(argv: list[str]) -> list[str]:
    """`compare RUN RUN ...`: the bare words are --runs."""
    count = next((index for index, word in enumerate(argv) if word.startswith("-")), len(argv))
    if argv[:1] == ["compare"] and count > 1:
        return ["compare", f"--runs={json.dumps(argv[1:count])}", *argv[count:]]
    return argv


if __name__ == "__main__":
    sys.exit(main("python -m analysis", COMMANDS, None, _all_runs(sys.argv[1:])))
