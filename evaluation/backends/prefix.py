"""Encode the beginning that several prompts share once, image and all, and go on from its key-value cache.

Whether a model can be used in this way, and how its later tokens must be told where they stand, is found by comparing
it with full forwards (`measure`), never by the model's name.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from commandline import first_line
from hooks.inputs import collate, pixel_names

Inputs = Mapping[str, Tensor]

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-5, torch.float16: 1e-2, torch.bfloat16: 3e-2}
"""Largest difference of a logit from that of a full forward, as a share of the largest logit (at least 1).

Over the families of `organisms.zoo`, rounding in bfloat16 makes up to 0.013 and wrong positions or masks 0.049 or more.
"""


@dataclass(frozen=True)
class Manner:
    """How a model goes on from a cache."""

    positions: Literal["rope", "counted", "own"]
    """The new tokens' positions: from `get_rope_index`, counted by the attention mask, or left to the model."""
    extras: Literal["none", "new", "all"]
    """Per-token inputs other than ids and mask (token types): left out, of the new tokens, or of all tokens."""


@dataclass(frozen=True)
class Sharing:
    """What `measure` found out about a model."""

    manner: Manner | None
    """None: every prompt takes a full forward."""
    steps: Literal["padded", "equal", "none"]
    """Which rows generate together from one cache: of any length, of equal length, or none (`generate` does it)."""
    batches: bool
    """Whether prefixes of several images of one shape may be encoded in one batch."""
    difference: float
    """Largest difference of a logit from a full forward's, relative to the largest logit."""
    reason: str
    """Why not, in one sentence; empty where the prefix is shared."""

    @staticmethod
    def no(reason: str, difference: float = float("inf")) -> Sharing:
        """Every prompt takes a forward of its own."""
        return Sharing(None, "none", False, difference, reason)


@dataclass
class State:
    """A model that has read some tokens: one row per prompt (or per image, before the prompts part)."""

    cache: Any
    mask: Tensor
    """(row, tokens in the cache) int64, 0 where a token is padding."""
    position: Tensor
    """(row,) int64: where the next token stands, by the model's own count."""
    extras: dict[str, Tensor]
    """Per-token inputs of all tokens so far, (row, token, ...)."""


def per_token(inputs: Inputs) -> tuple[str, ...]:
    """The inputs with one entry per token of `input_ids`, that one first: (sample, token, ...)."""
    shape, pixels = inputs["input_ids"].shape, pixel_names(inputs)
    names = (n for n, v in inputs.items() if isinstance(v, Tensor) and v.shape[:2] == shape and n not in pixels)
    return ("input_ids", *(name for name in names if name != "input_ids"))


def split(inputs: Inputs, length: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inputs of the first `length` tokens, image included, and the per-token inputs of the rest."""
    names = per_token(inputs)
    head = {name: value[:, :length] if name in names else value for name, value in inputs.items()}
    return head, {name: inputs[name][:, length:] for name in names}


def join(prefix: Inputs, suffix: Inputs) -> dict[str, Tensor]:
    """The inverse of `split`; a suffix of one row goes to every sample of the prefix."""
    rows = len(prefix["input_ids"])
    added = {
        name: value if len(value) == rows else value.expand(rows, *value.shape[1:]) for name, value in suffix.items()
    }
    return {name: torch.cat([value, added[name]], 1) if name in added else value for name, value in prefix.items()}


def common(prompts: Sequence[Inputs]) -> int:
    """How many first tokens the prompts share in every per-token input, at least one of each left over."""
    length = min(prompt["input_ids"].shape[1] for prompt in prompts) - 1
    first = prompts[0]
    for prompt in prompts[1:]:
        for name in per_token(first):
            same = first[name][0, :length] == prompt[name][0, :length]
            same = same.flatten(1).all(1) if same.ndim > 1 else same
            length = int(same.long().cumprod(0).sum())
    return length


def encode(model: nn.Module, prefix: Inputs) -> State:
    """Read a prefix, exactly as the processor made it, one row per image."""
    options = {"use_cache": True, **_kept(model, 1)}
    cache = model(**prefix, **options).past_key_values
    if cache is None:  # some models fill one that they are given, and make none
        from transformers import DynamicCache

        cache = DynamicCache(config=cast(Any, model).config.get_text_config(decoder=True))
        model(**prefix, past_key_values=cache, **options)
    rows, length = len(prefix["input_ids"]), cache.get_seq_length()
    mask = prefix.get("attention_mask")
    if mask is None or mask.shape != (rows, length):
        mask = torch.ones(rows, length, dtype=torch.long, device=prefix["input_ids"].device)
    extras = {name: prefix[name] for name in per_token(prefix) if name not in ("input_ids", "attention_mask")}
    return State(cache, mask, mask.sum(1), extras)


def start(model: nn.Module, prefix: Inputs, manner: Manner) -> State:
    """`encode`, and where the next token stands by the manner's count."""
    state = encode(model, prefix)
    if manner.positions == "rope":
        index = _rope_index(model)
        known = inspect.signature(index).parameters
        positions, _ = index(**{name: value for name, value in prefix.items() if name in known})
        state.position = positions.amax((0, 2)) + 1  # text after an image goes on from the largest of its positions
    return state


def _rope_index(model: nn.Module) -> Any:
    return next((module.get_rope_index for module in model.modules() if hasattr(module, "get_rope_index")), None)


def branch(state: State, owners: Tensor) -> State:
    """Rows that each go on from row `owners[i]` of the state, which stays as it is."""
    cache = copy.deepcopy(state.cache)
    cache.reorder_cache(owners)
    extras = {name: value[owners] for name, value in state.extras.items()}
    return State(cache, state.mask[owners], state.position[owners], extras)


def advance(model: nn.Module, state: State, new: Sequence[Inputs], manner: Manner) -> Tensor:
    """Let row i read the tokens of `new[i]` (one row each, any lengths) and return the logits after its last token.

    Shorter rows are padded on the right, where the tokens before cannot see it. The state is moved on.

    Returns:
        (row, vocabulary) float32.
    """
    counts = torch.tensor([row["input_ids"].shape[1] for row in new])
    padded = {name: _padded([row[name] for row in new]) for name in new[0]}
    ids, device = padded["input_ids"], padded["input_ids"].device
    width, last = ids.shape[1], counts.to(device) - 1
    fresh = (torch.arange(width, device=device) <= last[:, None]).long()
    state.mask = torch.cat([state.mask, fresh], 1)
    state.extras = {name: torch.cat([old, padded[name]], 1) for name, old in state.extras.items()}
    places = state.position[:, None] + torch.arange(width, device=device)
    state.position = state.position + counts.to(device)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": state.mask}
    if manner.positions != "own":
        inputs["position_ids"] = places.expand(3, -1, -1) if manner.positions == "rope" else places
    if manner.extras != "none":
        inputs |= state.extras if manner.extras == "all" else {name: padded[name] for name in state.extras}
    kept = torch.unique(last)
    options = _kept(model, kept)
    output = model(**inputs, past_key_values=state.cache, use_cache=True, **options)
    state.cache = output.past_key_values
    at = torch.searchsorted(kept, last) if options else last
    return output.logits[torch.arange(len(new), device=device), at].float()


def full(model: nn.Module, inputs: Inputs) -> Tensor:
    """(sample, vocabulary) float32: the logits after the last token, by one forward of the whole prompts."""
    return model(**inputs, **_kept(model, 1)).logits[:, -1].float()


def measure(model: nn.Module, prompts: Sequence[Inputs], length: int, other: Inputs | None = None) -> Sharing:
    """Compare a shared prefix with full forwards on prompts that share their first `length` tokens.

    Args:
        prompts: at least two, of different lengths, one row (or the same number of rows) each.
        other: the first prompt with another image, to see whether two images may be encoded in one batch.
    """
    limit = TOLERANCE[next(p.dtype for p in model.parameters() if p.is_floating_point())]
    prefix, _ = split(prompts[0], length)
    suffixes = [split(prompt, length)[1] for prompt in prompts]
    try:
        wanted = torch.cat([full(model, prompt) for prompt in prompts])
    except Exception as error:  # a model may refuse for any reason of its own
        return Sharing.no(f"no logits from a plain forward: {first_line(error)}")
    best, reason = float("inf"), ""
    for manner in _manners(model, prefix):
        try:
            state = start(model, prefix, manner)
            got = advance(model, _fan(state, len(suffixes)), _rows(suffixes), manner)
            off = difference(got, wanted)
        except Exception as error:
            reason = reason or f"it does not go on from a cache: {first_line(error)}"
            continue
        if off <= limit:
            steps = _steps(model, state, prompts, suffixes, manner, limit)
            return Sharing(manner, steps, _batches(model, prompts[0], other, length, manner, limit), off, "")
        best = min(best, off)
    if best < float("inf"):
        reason = f"its answers from a shared prefix differ from full forwards by {best:.1e} of the largest logit"
    return Sharing.no(reason, best)


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two arrays of logits, as a share of the largest of them (at least 1)."""
    told = other.abs() < 1e30  # some models forbid tokens by the lowest number there is
    off = (one - other)[told].abs().max()
    return float(off) / max(1.0, float(other[told].abs().max())) if bool(off.isfinite()) else float("inf")


def _manners(model: nn.Module, prefix: Inputs) -> Iterator[Manner]:
    extras = per_token(prefix)[1:] not in ((), ("attention_mask",))
    rope = ("rope",) if _rope_index(model) else ()
    for positions, given in product((*rope, "counted", "own"), ("none", "new", "all") if extras else ("none",)):
        yield Manner(positions, given)


def _fan(state: State, copies: int) -> State:
    """Prompt-major rows: (prompt 1 of every image), (prompt 2 of every image), ..."""
    return branch(state, torch.arange(len(state.mask), device=state.mask.device).repeat(copies))


def _rows(suffixes: Sequence[Inputs]) -> list[dict[str, Tensor]]:
    return [
        {name: value[row : row + 1] for name, value in suffix.items()}
        for suffix in suffixes
        for row in range(len(suffix["input_ids"]))
    ]


def _steps(
    model: nn.Module,
    state: State,
    prompts: Sequence[Inputs],
    suffixes: Sequence[Inputs],
    manner: Manner,
    limit: float,
) -> Literal["padded", "equal", "none"]:
    """One token more (the last one again), from the cache and by full forwards of the longer prompts."""
    rows = _rows(suffixes)
    more = [following(row, row["input_ids"][:, -1:]) for row in rows]
    count = len(prompts[0]["input_ids"])
    ends = [{n: torch.cat([r[n] for r in more[at : at + count]]) for n in more[0]} for at in range(0, len(more), count)]
    try:
        longer = torch.cat([full(model, join(p, end)) for p, end in zip(prompts, ends, strict=True)])
        alone = []
        for at in range(0, len(rows), count):
            one = branch(state, torch.arange(count, device=state.mask.device))
            advance(model, one, rows[at : at + count], manner)
            alone.append(advance(model, one, more[at : at + count], manner))
        if difference(torch.cat(alone), longer) > limit:
            return "none"
        together = _fan(state, len(suffixes))
        advance(model, together, rows, manner)
        got = advance(model, together, more, manner)
    except Exception:
        return "none"
    # A window or a recurrent state counts padding as tokens: seen only in prompts longer than those measured here.
    plain = all(type(layer).__name__ == "DynamicLayer" for layer in together.cache.layers)
    return "padded" if plain and difference(got, longer) <= limit else "equal"


def _batches(model: nn.Module, prompt: Inputs, other: Inputs | None, length: int, manner: Manner, limit: float) -> bool:
    if other is None or any(prompt[name].shape != other[name].shape for name in prompt):
        return False
    try:
        wanted = torch.cat([full(model, prompt), full(model, other)])
        halves = [split(inputs, length) for inputs in (prompt, other)]
        state = start(model, collate([head for head, _ in halves]), manner)
        got = advance(model, state, [tail for _, tail in halves], manner)
    except Exception:
        return False
    return difference(got, wanted) <= limit


def following(row: Inputs, ids: Tensor) -> dict[str, Tensor]:
    """The per-token inputs of text that follows a prompt: its ids (sample, token), attended, the rest as at the end."""
    ends = {name: row[name][:, -1:] for name in per_token(row)}
    new = {name: end.repeat(1, ids.shape[1], *[1] * (end.ndim - 2)) for name, end in ends.items()}
    seen = {"attention_mask": torch.ones_like(ids)} if "attention_mask" in new else {}
    return {**new, **seen, "input_ids": ids}


def _padded(rows: Sequence[Tensor]) -> Tensor:
    width = max(row.shape[1] for row in rows)
    out = rows[0].new_zeros(len(rows), width, *rows[0].shape[2:])
    for at, row in enumerate(rows):
        out[at, : row.shape[1]] = row[0]
    return out


def _kept(model: nn.Module, positions: int | Tensor) -> dict[str, Any]:
    """Ask for the logits of some positions only, where the model lets one."""
    return {"logits_to_keep": positions} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
