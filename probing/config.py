"""The settings of `python -m probing`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from commandline import Config, InputError, Names
from tracking import Tracking

DEFAULT_PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
NOT_IN_PAPER = (
    *("penalties", "select", "validation_fraction", "refit", "controls", "tol", "max_iter"),
    *("random_init", "pixel_shuffled", "conditional", "description", "memory_budget", "seeds"),
)
"""Settings that the `paper` protocol does not look at: it solves nothing, has no validation, no control and one seed,
holds features in memory, and what is measured beside (other stores, added bits, code lengths) needs solved probes."""


class ProbeConfig(Config):
    """Fit a linear probe for every level of the taxonomy at every site of a store, and say what each site holds.

    The penalty is chosen on validation, the test split is read once, and every number comes with an interval and a
    null. An earlier result is replaced only once the new one is whole.
    """

    store: str
    """The store."""
    sites: Names = None
    """Sites or patterns (`encoder.*,llm.final`); all by default."""
    depth: float | None = Field(default=None, ge=0, le=1)
    """Of those sites only one: 0 the first, 1 the last, 0.5 the one in the middle. For sweeps over layers, or models
    of different depths side by side."""
    pool: str | None = None
    """The pooling to probe: of STORE itself, else of the store beside it that `python -m extract --pool` has named,
    STORE-<pool>.zarr; by default STORE as it is."""
    levels: Names = None
    """Levels of the taxonomy; all by default."""
    protocol: Literal["strict", "paper"] = "strict"
    """strict: penalty chosen on validation, test read once, nulls and controls beside. paper: the study's published
    training with its defects (docs/protocols.md), to explain a published number and for nothing else."""
    epochs: PositiveInt = 500
    """Of the published training, with protocol paper; 500 as published."""
    penalties: list[PositiveFloat] = Field(default=list(DEFAULT_PENALTIES), min_length=1)
    """The penalties to choose from, the same at every site; they weigh ||W||^2 / 2 on standardised features."""
    select: Literal["log_loss", "accuracy"] = "log_loss"
    """What is best on validation."""
    split: Literal["image", "leaf", "parent"] = "image"
    """image: the store's split. leaf: whole leaves held out, so parents are probed on leaves they never saw. parent:
    whole parents of leaves (genera) held out, with all their leaves."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """How much of the training split becomes validation, where the store has none (of the leaves, with split leaf)."""
    leaf_fraction: float = Field(default=0.5, gt=0, lt=1)
    """How many of each parent's leaves are tested, with split leaf; likewise of whole parents, with split parent."""
    per_leaf: PositiveInt | None = None
    """The most training and validation rows of a leaf; all by default."""
    duplicates: Literal["report", "drop", "ignore"] = "report"
    """Test samples with a copy among the fitted ones: told, left out, or not looked for."""
    duplicate_cosine: float = Field(default=0.95, gt=0, le=1)
    """From which cosine similarity, at the encoder's last site and less the mean, two images count as copies."""
    refit: bool = True
    """Fit again on train and validation together once the penalty is chosen."""
    shuffles: PositiveInt = 3
    """Probes fitted on shuffled labels, per level and site."""
    controls: NonNegativeInt = 1
    """Re-hung taxonomies, and control tasks, probed at every site; 0 leaves them out."""
    random_init: str | None = None
    """A store of the same samples from the same architecture, untrained: every number beside its own."""
    pixel_shuffled: str | None = None
    """A store of the same samples with their pixels shuffled: likewise."""
    baselines: bool = False
    """Probe what needs no model too: a 16 x 16 thumbnail and a colour histogram of the images; in a text store, the
    words and character trigrams of the leaves' names, and the tokens that are pooled."""
    questions: str | None = None
    """A question bank (JSON lines or Parquet): every reading is also kept to its options."""
    conditional: Names = None
    """Pairs of sites (`projector+llm.final,llm.4+llm.8`): the bits that the later adds beyond the earlier."""
    description: bool = False
    """Code the labels online at every site (MDL): about as much work again as the probes."""
    bootstrap: int = Field(default=2000, ge=1000)
    """Draws of an interval."""
    seed: NonNegativeInt = 0
    """Of the split, the shuffles and the draws."""
    seeds: PositiveInt = 1
    """Seeds from that one on, in one run: what is drawn (caps, shuffles, controls, the split where it is) is drawn by
    each. The first seed's numbers are reported, and how far accuracy and HCA go apart over all."""
    tol: PositiveFloat = 1e-4
    """The gradient norm to reach."""
    max_iter: PositiveInt = 1000
    """The most iterations of a fit; one that ends there is marked."""
    memory_budget: PositiveInt | None = None
    """Megabytes (2^20 bytes) for the features of a site and their probes; by default about a half of the memory that is
    free, on a GPU of its own too. Features of more than an eighth of it are read from the store in chunks, again and
    again: the same probes, later."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    allow_uncertified: bool = False
    """Probe sites that the store's certificate does not certify; tables and report say so."""
    allow_partial: bool = False
    """Probe a store whose extraction is not finished, with the rows it has."""
    wide: bool = False
    """Print every number of the tables, not only the essential ones; the Parquet files hold them either way."""
    out: str | None = None
    """Where the tables go; by default beside the store, <store>.probe (.probe-leaf, .probe-parent, .probe-paper with
    those). A run of a wandb sweep has a folder of its own there."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""


def unused(config: ProbeConfig) -> tuple[str, ...]:
    """The settings that its protocol does not look at."""
    return NOT_IN_PAPER if config.protocol == "paper" else ("epochs",)


def check_protocol(config: ProbeConfig) -> None:
    """Raise InputError for a setting that would silently do nothing under the protocol."""
    fields = type(config).model_fields
    given = [name for name in unused(config) if getattr(config, name) != fields[name].default]
    if given:
        other = "strict" if config.protocol == "paper" else "paper"
        raise InputError(
            f"--{given[0]} is no part of the {config.protocol} protocol and would do nothing; leave it out, or probe "
            f"with --protocol {other}"
        )
