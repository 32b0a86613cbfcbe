"""The settings of `python -m analysis erase`."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from commandline import Config, Names
from probing.config import DEFAULT_PENALTIES
from tracking import Tracking


class EraseConfig(Config):
    """Take a level out of a site, and see what is gone: of the probes there, and of the model's own answers.

    The subspace in which a level's nodes differ is fitted on the store's rows that are not in test, by LEACE and by
    mean projection, beside random subspaces of the same rank. Probes are fitted anew on what is left. With --questions
    the model is asked while the subspace is taken out of every visual token at the site.
    """

    store: str
    """The store, with pool mean if the model is to be asked."""
    site: Names = None
    """Sites or patterns (`projector,llm.*`) to erase at, one at a time; `projector` by default."""
    level: Names = None
    """Levels to erase, one at a time; all by default."""
    methods: Names = Field(default="leace,mean")
    """leace (least-squares concept erasure), mean (projection along the differences of means)."""
    within_parent: bool = True
    """Erase what a level adds to the level above: differences between children of one parent. false erases it whole,
    which necessarily erases every coarser level too."""
    random: PositiveInt = 3
    """Random subspaces beside each erasure, for the probes; the model is asked under the first."""
    questions: str | None = None
    """A question bank; without one the model is not asked."""
    images: str | None = None
    """The folder the bank's image paths start from."""
    model: str | None = None
    """A hub id or a directory; by default the store's own."""
    taxonomy: str | None = None
    """The taxonomy of a JSON lines bank."""
    levels: Names = None
    """Names of that taxonomy's levels, coarse to fine, the root included."""
    prompts: Names = None
    """One prompt of the catalogue that is answered by a letter; by default the first that fits the bank's data set."""
    split: str | None = "test"
    """Ask about images of this split of the bank; null for all."""
    limit: PositiveInt | None = None
    """Only so many images, an even random draw."""
    per_leaf: PositiveInt | None = None
    """At most so many images of each leaf."""
    penalties: list[PositiveFloat] = Field(default=list(DEFAULT_PENALTIES), min_length=1)
    """The probes' penalties to choose from, as of `python -m probing`."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """How much of the training split becomes validation, where the store has none."""
    bootstrap: int = Field(default=2000, ge=100)
    """Draws of an interval."""
    seed: NonNegativeInt = 0
    """Of the random subspaces, the draws and the split."""
    batch_size: PositiveInt = 32
    """Prompts of a forward pass, at most; less where memory runs out."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    dtype: str = "auto"
    """auto (the checkpoint's on a GPU, float32 on a CPU), float32, bfloat16, float16."""
    revision: str | None = None
    """A commit of the hub."""
    trust_remote_code: bool = False
    """Run code that comes with the checkpoint."""
    allow_uncertified: bool = False
    """Erase at sites that the store's certificate does not certify."""
    out: str | None = None
    """Where the results go; by default beside the store, <store>.erase."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""
