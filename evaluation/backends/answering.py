"""Letter logits and greedy text of rendered prompts, by one model: what the backends on transformers have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from commandline import InputError, first_line
from evaluation.asks import Answer, Ask, failed
from evaluation.backends.batches import Cluster, by_length, clusters, halving, out_of_memory, together
from evaluation.backends.letters import Letters
from evaluation.backends.prefix import Manner, Sharing, advance, branch, common, following, measure, split, start
from evaluation.backends.rendering import Prompt
from hooks.inputs import collate, to_model


@dataclass
class Throughput:
    """What was answered, and in how many seconds."""

    images: int = 0
    questions: int = 0
    tokens: int = 0
    """Of prompts, as if each were read alone, and of answers."""
    seconds: float = 0.0
    alone: int = 0
    """Questions answered by a forward of their own."""

    def __str__(self) -> str:
        seconds = self.seconds or float("inf")
        rates = (self.images / seconds, self.questions / seconds, self.tokens / seconds)
        return "{:.2f} images/s, {:.2f} questions/s, {:,.0f} tokens/s".format(*rates)


@dataclass
class Answering:
    """Answers prompts with a model: from shared prefixes where `sharing` allows it, else by `generate`."""

    model: Any
    letters: Letters
    rows: int
    """Prompts in a batch, at most; fewer once memory has run out."""
    images: int
    """Images in a batch, at most; likewise."""
    throughput: Throughput = field(default_factory=Throughput)
    _noted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.stops = frozenset(_stops(self.model, self.letters.tokenizer))
        self.model.generation_config = _greedy(self.model, self.stops)

    @torch.inference_mode()
    def answer(self, groups: Sequence[Sequence[Prompt]], sharing: Sharing) -> Iterator[Answer]:
        """Answers to the prompts of some images, each group of one image; or of text alone, grouped in any way."""
        began = time.perf_counter()
        if sharing.manner is None:
            for prompt in chain.from_iterable(groups):
                yield self._counted(self._whole(prompt), began)
                began = time.perf_counter()
        else:
            found = [cluster for group in groups for cluster in clusters(group)]
            for batch in together(found, self.images if sharing.batches else 1):
                work = partial(self._clusters, sharing=sharing)
                for answer in halving(work, batch, self._too_large, partial(self._at_most, "images")):
                    yield self._counted(answer, began)
                    began = time.perf_counter()
        self.throughput.images += sum(1 for group in groups if group and group[0].ask.image is not None)

    def _counted(self, answer: Answer, began: float) -> Answer:
        self.throughput.questions += 1
        self.throughput.tokens += answer.tokens_in + answer.tokens_out
        self.throughput.seconds += time.perf_counter() - began
        return answer

    def _clusters(self, batch: Sequence[Cluster], sharing: Sharing) -> list[Answer]:
        """Encode the prefixes of some clusters together, then read their questions in batches of like length."""
        try:
            return self._shared(batch, sharing)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            if out_of_memory(error):
                raise
        # What a model refuses together it may take alone; where not, its own error is the answer's.
        return [self._whole(prompt) for cluster in batch for prompt in cluster.prompts]

    def _shared(self, batch: Sequence[Cluster], sharing: Sharing) -> list[Answer]:
        manner = sharing.manner
        assert manner is not None
        length = min(cluster.shared for cluster in batch)
        prompts = [prompt for cluster in batch for prompt in cluster.prompts]
        owners = [row for row, cluster in enumerate(batch) for _ in cluster.prompts]
        heads = [split(cluster.prompts[0].inputs, length)[0] for cluster in batch]
        state = start(self.model, to_model(self.model, collate(heads)), manner)
        later = [at for at, prompt in enumerate(prompts) if prompt.ask.max_new_tokens > 1]
        cached = set(later) if sharing.steps != "none" else set()
        now = [at for at in range(len(prompts)) if at not in later]
        answers: list[Answer] = []

        def read(indices: Sequence[int]) -> list[Answer]:
            rows = branch(state, torch.tensor([owners[at] for at in indices], device=state.mask.device))
            tails = [to_model(self.model, split(prompts[at].inputs, length)[1]) for at in indices]
            logits = advance(self.model, rows, tails, manner)
            chosen = [prompts[at] for at in indices]
            if not cached.issuperset(indices):
                return [self._answer(*pair, [int(pair[1].argmax())]) for pair in zip(chosen, logits, strict=True)]
            texts = self._continue(rows, tails, logits, [prompt.ask.max_new_tokens for prompt in chosen], manner)
            return [self._answer(*row) for row in zip(chosen, logits, texts, strict=True)]

        def alone(index: int, error: Exception) -> list[Answer]:
            return [_failed(prompts[index].ask, error)]

        for part, equal in ((now, False), (sorted(cached), sharing.steps == "equal")):
            for rows in by_length([prompts[at].length for at in part], self.rows, equal):
                answers += halving(read, [part[row] for row in rows], alone, partial(self._at_most, "rows"))
        return answers + [self._whole(prompts[at]) for at in later if at not in cached]

    def _continue(self, rows: Any, tails: Sequence[Any], logits: Tensor, room: Sequence[int], manner: Manner) -> list:
        """Greedy tokens of every row, its first from `logits`, until it stops or has used its room."""
        tokens: list[list[int]] = [[] for _ in tails]
        alive = list(range(len(tails)))
        last = list(tails)
        while True:
            for at, token in zip(alive, logits.argmax(1).tolist(), strict=True):
                tokens[at].append(token)
            going = [i for i, at in enumerate(alive) if tokens[at][-1] not in self.stops and len(tokens[at]) < room[at]]
            if not going:
                return tokens
            if len(going) < len(alive):
                rows = branch(rows, torch.tensor(going, device=rows.mask.device))
                alive = [alive[i] for i in going]
            for at in alive:
                last[at] = following(last[at], torch.tensor([tokens[at][-1:]], device=rows.mask.device))
            logits = advance(self.model, rows, [last[at] for at in alive], manner)

    def _whole(self, prompt: Prompt) -> Answer:
        """By transformers' own `generate`, alone."""
        self.throughput.alone += 1
        try:
            made = self.model.generate(
                **to_model(self.model, prompt.inputs),
                max_new_tokens=prompt.ask.max_new_tokens,
                output_logits=True,
                return_dict_in_generate=True,
            )
        except Exception as error:  # each model refuses in its own way; one prompt must not end a run
            return _failed(prompt.ask, error)
        return self._answer(prompt, made.logits[0][0], made.sequences[0, -len(made.logits) :].tolist())

    def _answer(self, prompt: Prompt, logits: Tensor, tokens: Sequence[int]) -> Answer:
        text = self.letters.tokenizer.decode(list(tokens), skip_special_tokens=True)
        key, counts = prompt.ask.key, (prompt.length, len(tokens))
        try:
            scores = self.letters.logits(logits.float(), prompt.ask.letters, prompt.before).cpu().numpy()
        except InputError as error:  # the reply says something all the same
            self._note(str(error))
            scores = None
        return Answer(key, text, scores, *counts)

    def _note(self, said: str) -> None:
        if said not in self._noted:
            self._noted.add(said)
            tqdm.write(f"note: {said}", file=sys.stderr)

    def _at_most(self, name: Literal["rows", "images"], size: int) -> None:
        if size < getattr(self, name):
            setattr(self, name, size)
            unit = {"rows": "questions", "images": "images"}[name]
            self._note(f"out of memory; from here on at most {size} {unit} in a forward pass")

    def _too_large(self, cluster: Cluster, error: Exception) -> list[Answer]:
        return [_failed(prompt.ask, error) for prompt in cluster.prompts]


@torch.inference_mode()
def measured(model: Any, prompts: Sequence[Prompt], other: Prompt | None = None) -> Sharing:
    """`measure` on rendered prompts; `other` is the first of them with another image."""
    inputs = [to_model(model, prompt.inputs) for prompt in prompts]
    length = common(inputs)
    if length < max(prompts[0].image_end, 1):
        return Sharing.no("its prompts do not begin alike, the image included")
    return measure(model, inputs, length, to_model(model, other.inputs) if other else None)


def check_answers(answering: Answering, prompt: Prompt) -> None:
    """Raises InputError where the model generates nothing: it takes no cache, and not the prompt as a whole either."""
    (answer,) = answering.answer([[prompt]], Sharing.no(""))
    answering.throughput = Throughput()
    if answer.tokens_out == 0:
        raise InputError(f"{type(answering.model).__name__} does not answer: {answer.error}")


def _failed(ask: Ask, error: Exception) -> Answer:
    if out_of_memory(error):
        return failed(ask, "out of memory with this question alone; lower max_pixels or use a larger device")
    return failed(ask, f"the model does not take this prompt: {first_line(error)}")


def _stops(model: Any, tokenizer: Any) -> set[int]:
    named = (getattr(model, "generation_config", None), model.config, tokenizer)
    found = [getattr(owner, "eos_token_id", None) for owner in named]
    return {token for one in found if one is not None for token in (one if isinstance(one, (list, tuple)) else [one])}


def _greedy(model: Any, stops: Iterable[int]) -> Any:
    """The checkpoint's special tokens without its sampling, penalties and limits: plain greedy decoding."""
    from transformers import GenerationConfig

    own = getattr(model, "generation_config", None) or GenerationConfig()
    kept = ("bos_token_id", "decoder_start_token_id", "pad_token_id", "eos_token_id")
    greedy = GenerationConfig(do_sample=False, **{name: getattr(own, name, None) for name in kept})
    if greedy.pad_token_id is None:
        greedy.pad_token_id = min(stops, default=None)  # nothing is padded; without one, a warning at every call
    return greedy
