"""The certificate of a store: its sites checked on real images, or prompts, before the first row is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from hooks import Certificate, Loaded, SiteMap

PROMPTS = ("The quick brown fox jumps over the lazy dog.", "A robin is a bird.")
TOLERANCE = 0.05
"""How far, in shares of a row's size, a sample's features in a batch may be from those it has alone."""


def certificate_of(model: Any, samples: Sequence[Mapping[str, Tensor]], sites: SiteMap) -> dict[str, Any]:
    """Certify the sites on some samples, one batch each (beside a twin with other pixels), read as the extraction reads
    them, and say in one line how it went."""
    from hooks import capture, certify

    def read(model: Any, inputs: Mapping[str, Any], sites: SiteMap) -> dict[str, Any]:
        return capture(model, inputs, sites, "tokens", alike=True)

    return _told(certify(model, samples, sites, read=read))


def text_certificate(loaded: Loaded, sites: SiteMap) -> dict[str, Any]:
    """The same for the sites of a language model, on two sentences."""
    from hooks import certify
    from hooks.text import text_sample

    return _told(certify(loaded.model, text_sample(loaded, PROMPTS), sites))


def _told(certificate: Certificate) -> dict[str, Any]:
    from hooks.certificate import summary

    print(summary(certificate))
    return certificate.to_dict()


def takes_batches(model: Any, sample: Mapping[str, Tensor], sites: SiteMap) -> bool:
    """Whether samples of one shape may be put after each other: some models pack their images in another way.

    Three forwards: the sample, the sample with other pixels, and both in one batch, whose rows must be theirs.
    """
    from hooks import capture
    from hooks.inputs import change_pixels, collate

    other = change_pixels(sample, 1)
    alone = [capture(model, inputs, sites) for inputs in (sample, other)]
    try:
        both = capture(model, collate([sample, other]), sites, alike=True)
    except Exception:  # a model may refuse, for any reason of its own, what no processor made
        return False
    return all(_same(both[name][row], alone[row][name][0]) for name in sites for row in (0, 1))


def _same(one: Tensor, other: Tensor) -> bool:
    size = float(other.norm())
    return float((one - other).norm()) <= TOLERANCE * size or not size
