"""`python -m analysis report RUN`: a probe run as one HTML file."""

import sys

from analysis.bottleneck.config import VerdictConfig
from analysis.config import ReportConfig
from analysis.erasure.config import EraseConfig
from analysis.geometry_config import GeometryConfig, UnembeddingConfig
from commandline import Command, main


def _report(config: ReportConfig) -> None:
    from analysis.report import run

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
    "verdict": Command(VerdictConfig, _verdict, "run"),
    "geometry": Command(GeometryConfig, _geometry, "store", after_interrupt=SITES_KEPT),
    "unembedding": Command(UnembeddingConfig, _unembedding, "model"),
    "erase": Command(EraseConfig, _erase, "store", after_interrupt=KEPT),
}

if __name__ == "__main__":
    sys.exit(main("python -m analysis", COMMANDS))
