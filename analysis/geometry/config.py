"""The settings of `python -m analysis geometry` and `unembedding`."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from commandline import Config, InputError, Names
from tracking import Tracking

DIRECTIONS = ("mean", "lda", "probe")
INNER_PRODUCTS = ("euclidean", "within", "total", "causal")
ESTIMATORS = ("lda", "mean")


class GeometryConfig(Config):
    """Say of every pair of levels at every site of a store whether their directions are orthogonal, and show why.

    Three verdicts: orthogonal, violated, not identifiable. Sites that are finished are kept, and the same command goes
    on from there.
    """

    store: str
    """The store."""
    sites: Names = None
    """Sites or patterns (`projector,llm.*`); all by default."""
    directions: Names = Field(default="mean")
    """What a node's direction is: mean (difference of means), lda (shrunk), probe (a probe's weights)."""
    inner_products: Names = Field(default="euclidean,within")
    """euclidean, within (whitened by the covariance about leaf means), total (by that of all samples), causal (of the
    language model's unembedding, at the sites of its residual stream)."""
    split: str | None = "train"
    """The split whose rows are measured; null for all. Directions are cross-fitted within it."""
    draws: PositiveInt = Field(default=1000, ge=40)
    """Of every null and interval."""
    margin: float = Field(default=0.25, gt=0, lt=1)
    """The root mean square cosine below which a pair counts as orthogonal, and above which as violated."""
    random_init: str | None = None
    """A store of the same samples from the same architecture, untrained: every number beside its own."""
    model: str | None = None
    """Whose unembedding the causal inner product takes: a hub id or a directory; by default the store's own."""
    leaf_probes: str | None = None
    """Results of `python -m probing --split leaf`, to see whether orthogonality goes with them; by default
    <store>.probe-leaf where it is there."""
    seed: NonNegativeInt = 0
    """Of the draws."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    allow_uncertified: bool = False
    """Measure sites that the store's certificate does not certify; the page says so."""
    allow_partial: bool = False
    """Measure a store whose extraction is not finished, with the rows it has."""
    out: str | None = None
    """Where the results go; by default beside the store, <store>.geometry."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""


class UnembeddingConfig(Config):
    """The same of a language model's unembedding vectors, as Park et al. (2406.01506) have it: nodes are sets of words.

    Their estimators and their criterion stand beside our verdicts and nulls. Only words that are one token count.
    """

    model: str
    """A hub id or a directory."""
    taxonomy: str
    """A JSON file or a folder tree."""
    levels: Names = None
    """Names of its levels, coarse to fine, the root included."""
    drop_root: bool = False
    """Leave out the top level, which is one node."""
    words: str | None = None
    """A JSON file {leaf: [word, ...]}; by default a leaf's word is its name."""
    variants: bool = True
    """Take every word as it is, capitalised, and in the plural; each with a space before it."""
    estimators: Names = Field(default="lda,mean")
    """Of Park et al.'s directions."""
    draws: PositiveInt = Field(default=1000, ge=40)
    """Of every null and interval of our own."""
    margin: float = Field(default=0.25, gt=0, lt=1)
    """As of `geometry`."""
    seed: NonNegativeInt = 0
    """Of the draws."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    revision: str | None = None
    """A commit of the hub."""
    trust_remote_code: bool = False
    """Run code that comes with the checkpoint."""
    out: str | None = None
    """Where the results go; by default runs/<model>-<taxonomy>.geometry."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""


def chosen(given: Names, known: tuple[str, ...], setting: str) -> list[str]:
    """The names given for a setting, once each. Raises InputError for one that is not known, or none."""
    names = [name.strip() for part in ([given] if isinstance(given, str) else given or []) for name in part.split(",")]
    if strange := [name for name in names if name not in known]:
        raise InputError(f"--{setting}: {strange[0]!r} is none of {', '.join(known)}")
    if not names:
        raise InputError(f"--{setting} names none of {', '.join(known)}")
    return list(dict.fromkeys(names))
