"""What a site no longer has of an earlier one, in bits: conditional probing, the other way round.

The visual tokens of an LLM cannot know more of the image than the projector gave them, but they may hold it in a form
that a probe reads less well. So less accuracy is no loss yet. It is one where the projector still adds bits to the
LLM's site: `added` of `python -m probing --conditional llm.final+projector` (Hewitt et al. 2021, arXiv 2109.09234).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.bottleneck.found import Record


@dataclass(frozen=True)
class Bits:
    """Of a level, beyond the level above it: the share of the bits of both sites that only the source has."""

    source: str
    later_site: str
    share: float
    low: float
    high: float
    added: float
    """Bits per sample, and what they become when the source's rows are dealt anew."""
    null: float
    n: int

    def lost(self, margin: float) -> bool:
        """More than nothing for certain, and at least the margin."""
        return self.low > 0 and self.share >= margin


def bits_lost(
    records: Sequence[Record], levels: Sequence[str], source: Sequence[str], sites: Sequence[str]
) -> dict[str, Bits]:
    """Per level, of the last of `sites` that was probed together with the last of `source` that was.

    The bits of a level beyond its parent's are a difference (the parent is a function of the level); its interval adds
    the two in quadrature, as if they were independent.
    """
    pairs = {(record["earlier"], record["later"]) for record in records}
    chosen = [(site, first) for site in reversed(sites) for first in reversed(source) if (site, first) in pairs]
    if not chosen:
        return {}
    site, first = chosen[0]
    rows = {record["level"]: record for record in records if (record["earlier"], record["later"]) == chosen[0]}
    found = {}
    for level, above in zip(levels, [None, *levels], strict=False):
        own, parent = rows[level], rows.get(above) if above else None
        added, both, null = (own[key] - (parent[key] if parent else 0) for key in ("added", "bits_both", "added_null"))
        if both <= 0:
            continue
        down = math.hypot(_below(own), _above(parent) if parent else 0)
        up = math.hypot(_above(own), _below(parent) if parent else 0)
        found[level] = Bits(
            first,
            site,
            _unit(added / both),
            _unit((added - down) / both),
            _unit((added + up) / both),
            added,
            null,
            own["n_test"],
        )
    return found


def _below(row: Record) -> float:
    return row["added"] - row["added_low"]


def _above(row: Record) -> float:
    return row["added_high"] - row["added"]


def _unit(share: float) -> float:
    return min(max(share, 0.0), 1.0)
