"""Sites: the places in a model whose activations are read, and where in the module tree each one is found.

Names: `encoder.<k>` (output of vision block k, from 1; `encoder2.<k>` of a second tower), `encoder.final` (what the
projector reads, layer selection and dropped class tokens included), `projector` (the rows the model puts at the visual
positions of the LLM's input, or hands to its cross-attention), `llm.<k>` (visual positions of the residual stream: 0 is
the first block's input, k what block k hands on, additions between blocks included), `llm.final` (after the final
norm), and `text.<k>`, `text.final` likewise for text tokens.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from commandline import InputError

if TYPE_CHECKING:
    from torch import Tensor

Stage = Literal["encoder", "projector", "llm", "text"]
Key = tuple[str | int, ...]
"""Where a tensor stands in a call: ("args", 0), ("kwargs", "hidden_states"), or inside an output: (), (0,), ("x",)."""
Axis = Literal["sample", "token", "unit", "row", "column", "depth", "stream", "feature"]
"""`sample` and `token`: the LLM's batch and sequence. `unit`: images, tiles or windows of a batch, one after another.
`row`, `column`, `depth`: patches, packed or on a grid. `stream`: parallel residual streams, which count as features."""
Fusion = Literal["tokens", "sequence", "cross-attention", "none"]
"""How the image reaches the LLM: in place of placeholder tokens, as rows between the tokens, through cross-attention,
or not at all (dual encoders, vision models, text-only LLMs)."""


@dataclass(frozen=True)
class Site:
    """One place to read: a tensor that enters or leaves a module."""

    name: str
    stage: Stage
    layer: int | None
    """The index in the stage; None for `projector` and the sites after the final norm."""
    module: str
    """Dotted path of the module, as in `model.named_modules()`."""
    reads: Literal["input", "output"]
    key: Key
    width: int
    """Features per token."""
    order: int
    """Position in the execution of a forward: sites are read in this order."""
    call: int | None = 0
    """Which execution of the module in a forward; None for all of them, one after another, where it runs once per image
    or on a global and a local view."""
    axes: tuple[Axis, ...] = ("sample", "token", "feature")
    """What the tensor's axes are, outermost first."""

    @property
    def in_sequence(self) -> bool:
        """Whether the rows are positions of the LLM's sequence (else they are a vision module's own)."""
        return "token" in self.axes


@dataclass(frozen=True)
class SiteMap(Mapping[str, Site]):
    """A model's sites by name, in the order a forward reaches them; found by `find_sites`."""

    sites: Mapping[str, Site]
    placeholder_ids: tuple[int, ...] = ()
    """The token ids under the visual positions; empty for a text-only model."""
    projector_module: str | None = None
    """The module that made the rows at the visual positions, where one is recognised."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Stages this model does not have, or whose place was not found, with the reason."""
    fusion: Fusion = "none"
    added: Mapping[str, str] = field(default_factory=dict)
    """{LLM site: module whose rows the model adds between two blocks} (DeepStack)."""
    entry: Site | None = None
    """Where image and text rows first stand together, whatever is selected."""
    head: str | None = None
    """The unembedding."""

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.sites)

    def select(self, patterns: Sequence[str] | None) -> SiteMap:
        """The sites that match any of `patterns` (names, or shell patterns such as `llm.*`); all of them for None.

        Raises:
            InputError: a pattern matches nothing; the nearest names are listed.
        """
        if patterns is None:
            return self
        for pattern in patterns:
            stage = pattern.partition(".")[0]
            if stage in self.missing and not fnmatch.filter(self.sites, pattern):
                raise InputError(f"no site matches {pattern!r}: {self.missing[stage]}")
        return replace(self, sites={name: self.sites[name] for name in select_names(self.names, patterns)})

    @property
    def in_sequence(self) -> bool:
        """Whether the image has rows of its own in the LLM's sequence."""
        return self.fusion in ("tokens", "sequence")

    def visual_positions(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The positions of the LLM's sequence filled from the image, newline rows included: bool (sample, token).

        Raises InputError where no token id marks them: `hooks.positions.visual_positions` finds those by running the
        model.
        """
        import torch

        from hooks.inputs import token_name

        if self.in_sequence and not self.placeholder_ids:
            raise InputError("no token id marks this model's visual positions; use hooks.positions.visual_positions")
        ids = inputs[token_name(inputs) or "input_ids"]
        return torch.isin(ids, torch.tensor(self.placeholder_ids, dtype=ids.dtype, device=ids.device))


def select_names(names: Sequence[str], patterns: Sequence[str] | None) -> list[str]:
    """The names, in their order, that match any of `patterns` (names, or shell patterns); all of them for None.

    Raises:
        InputError: a pattern matches nothing; the nearest names are listed.
    """
    if patterns is None:
        return list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        hits = fnmatch.filter(names, pattern)
        if not hits:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4)
            hint = f"the nearest are {', '.join(near)}" if near else f"there are {', '.join(names)}"
            raise InputError(f"no site matches {pattern!r}; {hint}")
        chosen.update(hits)
    return [name for name in names if name in chosen]
