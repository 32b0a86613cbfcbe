"""The settings of `python -m evaluation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from commandline import Config, Names
from tracking import Tracking

ParserName = Literal["strict_v1", "released"]


class AskConfig(Config):
    """Put the questions of a bank to a model, keep what it answers, and score it with intervals and nulls.

    Answers are written as they come; the same command goes on where it was stopped and asks nothing twice. Raw answers
    are kept, so that reading them in another way (`python -m evaluation reparse`) asks nothing either.
    """

    model: str
    """A hub id or a directory; `hf-hub:owner/name` for OpenCLIP; with --base_url the server's name for the model."""
    questions: str
    """The question bank: Parquet, or one of the study's JSON lines (.jsonl, .jsonl.gz), which needs --taxonomy."""
    images: str | None = None
    """The folder the bank's image paths start from."""
    taxonomy: str | None = None
    """The taxonomy of a JSON lines bank: a file, a folder tree or a preset."""
    levels: Names = None
    """Names of that taxonomy's levels, coarse to fine, the root included; prompts say them."""
    prompts: Names = None
    """Prompts of the catalogue by name or pattern (`cub-0,cub-1`, `cub-*`, `all`); by default the first one that fits
    the bank's data set."""
    prompt_file: str | None = None
    """A YAML file with prompts of your own."""
    rotations: Literal[1, 4] = 1
    """1: the bank's order of options. 4: every cyclic shift of it, which is four asks of a question of four options."""
    prior_fraction: float = Field(default=0.0, ge=0, le=1)
    """With one rotation: the share of images asked in every rotation all the same, from which the letters' prior is
    estimated and divided out (PriDe). 0.05 is enough."""
    text_only: bool = False
    """Ask by the leaf's name, without the image, at the levels above it."""
    shown: Literal["image", "shuffled", "blank", "none"] = "image"
    """What is shown with an image's questions: controls are another leaf's image, a grey one, or none."""
    backend: Literal["auto", "vlm", "causal", "api", "dual"] = "auto"
    """What asks; auto: api with --base_url, else by the kind of model."""
    split: str | None = None
    """Only the images of this split."""
    limit: PositiveInt | None = None
    """Only so many images, an even random draw."""
    per_leaf: PositiveInt | None = None
    """At most so many images of each leaf; 1 is the quick protocol."""
    seed: NonNegativeInt = 0
    """Of the draws of images; not of the questions, which the bank holds."""
    parser: ParserName = "strict_v1"
    """How replies are read; `released` is the study's substring parser."""
    out: str | None = None
    """The run's folder; by default runs/<model>-<bank>.ask, with what sets it apart."""
    flush: PositiveInt = 2048
    """Answers of a part file; one is also written every half minute."""
    retry_errors: bool = False
    """Ask again what gave an error (a file that could not be read, a server that gave up)."""

    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    dtype: str = "auto"
    """auto (the checkpoint's on a GPU, float32 on a CPU), float32, bfloat16, float16."""
    batch_size: PositiveInt = 32
    """Questions of a forward pass, or images of a dual encoder's; less where memory runs out."""
    images_per_batch: PositiveInt = 4
    """Images that a vision-language model reads at once, where it was found to answer the same; less likewise."""
    revision: str | None = None
    """A commit of the hub."""
    random_init: bool = False
    """The same architecture with untrained weights."""
    trust_remote_code: bool = False
    """Run code that comes with the checkpoint."""
    min_pixels: PositiveInt | None = None
    """The least pixels of image processors that resize to a budget."""
    max_pixels: PositiveInt | None = None
    """The most pixels of image processors that resize to a budget."""
    templates: Literal["plain", "photo", "ensemble"] = "photo"
    """Of dual encoders: `{}`, `a photo of a {}.` (the study's), or the mean over several templates."""

    base_url: str | None = None
    """An OpenAI-compatible server, such as https://api.openai.com/v1 or http://localhost:8000/v1."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable with the server's key; the key itself is never written anywhere."""
    concurrency: PositiveInt = 8
    """Requests to the server at a time."""
    requests_per_minute: PositiveFloat | None = None
    """The most requests the server takes in a minute."""
    temperature: NonNegativeFloat = 0.0
    """Of the server's sampling."""
    image_detail: Literal["auto", "low", "high"] = "auto"
    """How closely the server looks (OpenAI); the study's GPT-4o had low."""
    price_in: NonNegativeFloat | None = None
    """What a million input tokens cost."""
    price_out: NonNegativeFloat | None = None
    """What a million output tokens cost."""
    max_cost: NonNegativeFloat | None = None
    """Stop before the answers cost more than this, as counted by the server's tokens and the prices above."""
    bootstrap: int = Field(default=2000, ge=100)
    """Draws of an interval."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""


class ZeroShotConfig(Config):
    """A dual encoder over the full label set: every name of a level is offered, to each of a bank's images."""

    model: str
    """A hub id or a directory; `hf-hub:owner/name` for OpenCLIP and BioCLIP."""
    questions: str
    """The question bank whose images are classified; its options are not looked at."""
    images: str
    """The folder the bank's image paths start from."""
    taxonomy: str | None = None
    """The taxonomy of a JSON lines bank."""
    levels: Names = None
    """Names of that taxonomy's levels, coarse to fine, the root included."""
    templates: Literal["plain", "photo", "ensemble"] = "photo"
    """`{}`, `a photo of a {}.` (the study's), or the mean over several templates."""
    split: str | None = None
    """Only the images of this split."""
    limit: PositiveInt | None = None
    """Only so many images, an even random draw."""
    per_leaf: PositiveInt | None = None
    """At most so many images of each leaf."""
    seed: NonNegativeInt = 0
    """Of the draws of images."""
    out: str | None = None
    """The folder of the results; by default runs/<model>-<data set>.zero-shot."""
    device: str = "auto"
    """auto (the first GPU, else the CPU), cpu, cuda, cuda:1."""
    dtype: str = "auto"
    """auto (the checkpoint's on a GPU, float32 on a CPU), float32, bfloat16, float16."""
    batch_size: PositiveInt = 64
    """Images, or texts, of a forward pass."""
    revision: str | None = None
    """A commit of the hub."""
    random_init: bool = False
    """The same architecture with untrained weights."""
    trust_remote_code: bool = False
    """Run code that comes with the checkpoint."""
    bootstrap: int = Field(default=2000, ge=100)
    """Draws of an interval."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""


class ReparseConfig(Config):
    """Read the answers of a run with another parser, and score them; no model is run."""

    run: str
    """The run's folder."""
    parser: ParserName = "strict_v1"
    """How replies are read; `released` is the study's substring parser."""
    bootstrap: int = Field(default=2000, ge=100)
    """Draws of an interval."""
    wandb: Tracking = Tracking()
    """Where the run is logged in wandb (docs/wandb.md)."""


class CompareConfig(Config):
    """Two runs over the same questions: the difference, paired by image, with its interval."""

    run: str
    """The first run's folder."""
    against: str
    """The second run's folder; differences are the second less the first."""
    parser: ParserName = "strict_v1"
    """How the replies of both are read."""
    prompt: str | None = None
    """The prompt to compare at, where the runs have several; by default the first that both have."""
    against_prompt: str | None = None
    """The second run's prompt, where it is another."""
    bootstrap: int = Field(default=2000, ge=100)
    """Draws of an interval."""
    seed: NonNegativeInt = 0
    """Of the draws."""
