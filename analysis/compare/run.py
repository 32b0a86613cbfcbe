"""`python -m analysis compare RUN RUN ...`: what each run gets right, and how far they are apart."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.compare.page import Compared, compose, sentences
from analysis.compare.paired import differences, shares
from analysis.compare.sides import names, side
from analysis.compare.tracked import comparison_of
from analysis.config import CompareConfig
from analysis.intervals import HCA
from analysis.report.material import gather
from analysis.report.run import write
from commandline import InputError
from probing.results import ProbeRun
from tracking import track

PAGE, TABLE, SHARES = "compare.html", "differences.parquet", "shares.parquet"


def run(config: CompareConfig) -> None:
    """Compare, write, print. Raises InputError before any work where that can be seen."""
    given = [_parted(word) for word in config.runs]
    opened = [ProbeRun.open(path) for path, _ in given]
    out = config.out or opened[0].path.with_name(f"{opened[0].path.stem}.comparison")
    if out.exists() and not (out / PAGE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and holds no comparison; give another --out")
    materials = [gather(probes) for probes in opened]
    called = names(materials, [site for _, site in given])
    sides = [side(name, material, site) for name, material, (_, site) in zip(called, materials, given, strict=True)]
    levels = [level for level in sides[0].truth if all(level in other.truth for other in sides)]
    if not levels:
        raise InputError(f"{', '.join(str(probes.path) for probes in opened)}: they have no scored level in common")
    if all(list(other.truth) == levels for other in sides):
        levels.append(HCA)  # of other levels it would be another number
    found = Compared(
        names=called,
        levels=levels,
        shares=[one for each in sides for one in shares(each, levels, config.bootstrap, config.seed)],
        differences=differences(sides, levels, config.bootstrap, config.seed),
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, records in ((SHARES, found.shares), (TABLE, found.differences)):
            pq.write_table(pa.Table.from_pylist([vars(record) for record in records]), out / name)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; give another --out") from error
    write(compose(found, materials), out / PAGE, figures=config.figures)
    print("\n".join(sentences(found)))
    print(f"\n{out}: {PAGE}, {TABLE}, {SHARES}")
    track(config.wandb, lambda: comparison_of(config, out, materials))


def _parted(word: str) -> tuple[Path, str | None]:
    """`RUN` or `RUN@SITE`."""
    path, at, site = word.rpartition("@")
    if at and not Path(word).exists():
        return Path(path), site
    return Path(word), None
