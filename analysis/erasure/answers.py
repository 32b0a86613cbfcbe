"""What the model answers while something is erased, as runs of `python -m evaluation` that can be gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.erasure.config import EraseConfig
from analysis.erasure.scores import Outcome, Record, difference, reliability
from analysis.erasure.tree import parents_of, relation
from commandline import InputError
from evaluation import bias
from evaluation.asking import Plan
from evaluation.config import AskConfig
from evaluation.reading import Reading, read
from evaluation.results import AskRun, begin, only_writer
from evaluation.run import about, ask, choose_prompts, open_bank, planned, settings_of
from extract import Store
from probing.bootstrap import LeafBootstrap
from taxonomy.questions import Prompt

if TYPE_CHECKING:
    from analysis.erasure.run import Erased

PARSER = "strict_v1"
PLAIN = "none"
"""The run in which nothing is erased."""
LONGEST = 16
"""Tokens of an answer that begins with its letter; a prompt with room for more wants reasoning first."""
FLUSH = 2048


@dataclass(frozen=True)
class Asking:
    """Questions to put to the store's model. Build it with `Asking.of`, which loads no weights."""

    config: EraseConfig
    asked: AskConfig
    store: Store
    out: Path
    prompt: Prompt
    plan: Plan
    settings: dict[str, Any]

    @classmethod
    def of(cls, config: EraseConfig, store: Store, sites: Sequence[str], out: Path) -> Asking:
        """Raises InputError for what can be seen to go wrong before a model is loaded."""
        told = store.attrs.get("model") or {}
        if store.attrs.get("pool") != "mean":
            raise InputError(
                f"{store.path} holds tokens pooled by {store.attrs.get('pool')}; only a mean over tokens is edited "
                "rightly by editing each token, so the model is asked about stores made with --pool mean"
            )
        if strange := [site for site in sites if site.startswith("text.")]:
            raise InputError(f"{strange[0]} holds text; nothing of an image is erased there")
        model = config.model or told.get("id")
        if model is None:
            raise InputError(f"{store.path} does not say what model it is of; name it with --model")
        asked = AskConfig(
            model=str(model),
            questions=str(config.questions),
            images=config.images,
            taxonomy=config.taxonomy,
            levels=config.levels,
            prompts=config.prompts,
            split=config.split,
            limit=config.limit,
            per_leaf=config.per_leaf,
            seed=config.seed,
            device=config.device,
            dtype=config.dtype,
            revision=config.revision,
            random_init=bool(told.get("random_init")),
            trust_remote_code=config.trust_remote_code,
            min_pixels=(store.attrs.get("pixels") or {}).get("min"),
            max_pixels=(store.attrs.get("pixels") or {}).get("max"),
        )
        bank = open_bank(asked)
        if bank.taxonomy.to_dict() != store.taxonomy.to_dict():
            raise InputError(
                f"{config.questions} and {store.path} are of different taxonomies; make the bank of its own"
            )
        prompts = choose_prompts(asked, bank)
        if len(prompts) != 1 or prompts[0].max_new_tokens > LONGEST or prompts[0].reads != "letter":
            names = ", ".join(prompt.name for prompt in prompts)
            raise InputError(f"--prompts: name one prompt that is answered by a letter at once, not {names}")
        settings = settings_of(asked, bank, prompts)
        return cls(config, asked, store, out, prompts[0], planned(asked, bank, prompts, out), settings)

    @property
    def about(self) -> dict[str, Any]:
        """For the record."""
        return {"prompt": self.prompt.name, "questions": len(self.plan), "images": len(self.plan.images)}

    def measure(
        self, erased: Sequence[Erased], levels: Sequence[str], within_parent: bool
    ) -> tuple[list[Record], list[Record]]:
        """Ask the model as it is and under every erasure: the records of levels, and those of reliability.

        Answers that are there already are kept. Raises InputError for another model than the store's.
        """
        runs = self._asked(erased)
        plain, *others = (read(one, one.answers(), self.prompt.name, PARSER) for one in runs)
        bootstrap = LeafBootstrap.of(plain.leaf, self.config.bootstrap, self.config.seed)
        records, totals = [], []
        for each, reading in zip(erased, others, strict=True):
            place = {"site": each.site, "level": each.level, "method": each.method, "draw": each.draw}
            place |= {"rank": each.eraser.rank, "measured": "answers"}
            outcomes = {}
            for of in levels:
                outcome = outcome_of(plain, reading, of, relation(levels, each.level, of, within_parent, answers=True))
                if outcome is None:
                    continue
                outcomes[of] = outcome
                entry = {"of": of, "relation": outcome.relation, "quantity": "letter"}
                records.append(place | entry | difference(outcome, bootstrap))
            totals.append(place | reliability(outcomes, bootstrap))
        return records, totals

    def _asked(self, erased: Sequence[Erased]) -> list[AskRun]:
        from PIL import Image

        from analysis.erasure.asking import ErasingBackend, require_same_model
        from hooks import load

        conditions = [None, *erased]
        runs, left = [], 0
        for each in conditions:
            settings = self.settings | {"erased": self._erasure(each)}
            run = begin(self._folder(each), settings, self.plan.bank.taxonomy, about(self.asked, self.plan))
            runs.append(run)
            left += len(self.plan) - int(run.done(self.plan.size).sum())
        if not left:
            return runs
        told = self.store.attrs.get("model") or {}
        loaded = load(
            self.asked.model,
            self.asked.device,
            self.asked.dtype,
            revision=self.asked.revision,
            random_init=self.asked.random_init,
            seed=told.get("seed") or 0,
            trust_remote_code=self.asked.trust_remote_code,
            image_backend=self.store.attrs.get("image_backend") or "pil",
            min_pixels=self.asked.min_pixels,
            max_pixels=self.asked.max_pixels,
        )
        require_same_model(loaded, self.store.attrs)
        noise = np.random.default_rng(0).integers(0, 256, (168, 224, 3), dtype=np.uint8)
        backend = ErasingBackend(loaded, self.config.batch_size, Image.fromarray(noise))
        finished = []
        for each, run in zip(conditions, runs, strict=True):
            if each is not None and each.site not in backend.sites:
                raise InputError(
                    f"the model has no site {each.site} when it is asked; it has {', '.join(backend.sites)}"
                )
            backend.functions = {} if each is None else {each.site: each.eraser.edit()}
            with only_writer(run.path):
                finished.append(ask(run, self.plan, backend, run.done(self.plan.size), FLUSH))
        return finished

    def _folder(self, erased: Erased | None) -> Path:
        return self.out / (PLAIN if erased is None else erased.name)

    def _erasure(self, erased: Erased | None) -> dict[str, Any] | None:
        """What an answer depends on beside the question; the map itself by its hash, to 4 digits."""
        if erased is None:
            return None
        whole = np.concatenate([(erased.eraser.left @ erased.eraser.right).ravel(), erased.eraser.centre])
        scale = np.abs(whole).max() or 1.0
        digest = hashlib.sha256(np.round(whole / scale, 4).astype(np.float32).tobytes()).hexdigest()
        return {"site": erased.site, "level": erased.level, "method": erased.method, "map": digest}


def outcome_of(plain: Reading, erased: Reading, level: str, kind: Any) -> Outcome | None:
    """Whether the likeliest letter of each image's question at a level is right; None where it was not asked.

    Chance is that of a blind choice among the options below the true parent: what is left of a level when all that it
    adds to the level above is gone.
    """
    index = plain.taxonomy.level_index(level)
    if index not in dict(plain.levels):
        return None
    truth, guesses = plain.truth[:, index], [one.codes(bias.fixed(one))[:, index] for one in (plain, erased)]
    if not np.array_equal(plain.images, erased.images):
        raise InputError("the runs are about different images; remove the folder of answers and ask again")
    parents, offered = parents_of(plain.taxonomy, level), plain.offered[:, index]
    has = truth >= 0
    siblings = ((offered >= 0) & (parents[offered] == parents[truth][:, None])).sum(1)
    before, after = (np.where(has, guess == truth, np.nan) for guess in guesses)
    return Outcome(before, after, np.where(has, 1 / np.maximum(siblings, 1), np.nan), kind)
