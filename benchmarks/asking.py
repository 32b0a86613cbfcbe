"""What the levels of an image cost when they share its prefix, beside asking them one by one with full forwards.

    python benchmarks/asking.py [--architecture qwen2_5_vl] [--images 2] [--repeats 3]
    python benchmarks/asking.py families

The model is untrained and has more than 50 million parameters. Both sides do all that asking does: read and resize
the image, render the prompts, run the model, find letters and text; they alternate in one process. One by one, every
question brings its image, as it does in scripts that loop over questions. The bar is a ratio of at most 0.45.
`families` counts on which families of models a prefix is shared, and compares each with full forwards on prompts and
pixels that were not looked at when that was decided.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commandline import Command, Config, main

if TYPE_CHECKING:
    from evaluation.asks import Ask, Backend

LEVELS = {
    "kingdom": ("Plantae", "Animalia", "Fungi", "Chromista"),
    "phylum": ("Arthropoda", "Chordata", "Mollusca", "Echinodermata"),
    "class": ("Amphibia", "Reptilia", "Aves", "Mammalia"),
    "order": ("Passeriformes", "Charadriiformes", "Procellariiformes", "Piciformes"),
    "family": ("Troglodytidae", "Parulidae", "Laridae", "Diomedeidae"),
    "genus": ("Cistothorus", "Thryomanes", "Campylorhynchus", "Salpinctes"),
    "species": ("Cistothorus palustris", "Thryomanes bewickii", "Anorthura hiemalis", "Salpinctes obsoletus"),
}


class AskingBenchConfig(Config):
    """Time the levels of images behind one prefix against one full forward each."""

    architecture: str = "qwen2_5_vl"
    """One of organisms.architectures.ARCHITECTURES."""
    images: int = 2
    """Images in all."""
    repeats: int = 3
    """Passes of each kind; the median counts."""
    threads: int = 1
    """Of torch: one is steady on a machine that does other things too."""


class FamiliesConfig(Config):
    """Count the families of vision-language models that share a prefix, and check each of them."""

    threads: int = 1
    """Of torch."""


def run(config: AskingBenchConfig) -> None:
    """Print medians, their ratio and the throughput, for each architecture and number of levels."""
    import numpy as np
    import torch
    from PIL import Image

    from evaluation.backends.vision_language import VisionLanguageBackend
    from hooks import load
    from organisms.architectures import build

    torch.set_num_threads(config.threads)
    with tempfile.TemporaryDirectory() as folder:
        photographs = []
        for number in range(config.images):
            pixels = np.random.default_rng(number).integers(0, 256, (300, 400, 3), dtype=np.uint8)
            photographs.append(Path(folder) / f"{number}.png")
            Image.fromarray(pixels).save(photographs[-1])
        # The tokenizer knows the questions' words, so that they take as many tokens as in a model for use.
        corpus = [ask.text for ask in _asks(None, len(LEVELS))] * 5
        loaded = load(build(config.architecture, Path(folder) / "model", scale="bench", corpus=corpus), "cpu")
        shared, alone = VisionLanguageBackend(loaded), VisionLanguageBackend(loaded, share=False)
        size = sum(weight.numel() for weight in loaded.model.parameters()) / 1e6
        print(f"{type(loaded.model).__name__}, {size:.0f}M parameters; the prefix is shared: {shared.sharing.manner}")
        for levels in (4, 7):  # of the birds' study, and of the others'
            _compare(shared, alone, [_asks(photograph, levels) for photograph in photographs], config.repeats)
    print(f"throughput of the shared side, all passes: {shared.throughput}")
    print("bar: a ratio of at most 0.45")


def _compare(shared: Backend, alone: Backend, groups: Sequence[Sequence[Ask]], repeats: int) -> None:
    import numpy as np

    singles = [[ask] for group in groups for ask in group]
    together = {answer.key: answer for answer in shared.answer(groups)}
    apart = {answer.key: answer for answer in alone.answer(singles)}
    scores = [np.array([answers[key].letter_logits for key in apart]) for answers in (together, apart)]
    off = float(np.abs(scores[0] - scores[1]).max())
    pairs: list[tuple[float, float]] = []
    for _ in range(repeats):
        one_by_one = _seconds(lambda: list(alone.answer(singles)))
        pairs.append((one_by_one, _seconds(lambda: list(shared.answer(groups)))))
    plain, less = (statistics.median(side) for side in zip(*pairs, strict=True))
    tokens = statistics.mean(answer.tokens_in for answer in apart.values())
    print(f"  {len(groups[0])} levels, {tokens:.0f} tokens a prompt, largest difference of a letter's logit {off:.1e}")
    print(f"    one by one    {plain / len(groups):.3f} s an image")
    print(f"    shared        {less / len(groups):.3f} s an image")
    print(f"    ratio         {statistics.median(b / a for a, b in pairs):.3f}, the median of {repeats} pairs")


def families(config: FamiliesConfig) -> None:
    """Print the count, and every family that falls back with the reason."""
    import torch
    import transformers
    from tqdm import tqdm

    from evaluation.backends.prefix import advance, branch, difference, following, full, join, measure, split, start
    from hooks.inputs import change_pixels
    from organisms.zoo import FAMILIES, build_family

    torch.set_num_threads(config.threads)
    transformers.logging.set_verbosity_error()
    alone: dict[str, str] = {}
    off: dict[str, float] = {}

    def asked(inputs, seed: int, *lengths: int):
        generator = torch.Generator().manual_seed(seed)
        shape = len(inputs["input_ids"])
        texts = [torch.randint(10, 200, (shape, length), generator=generator) for length in lengths]
        return [join(inputs, following(inputs, text)) for text in texts]

    with torch.inference_mode():
        for name in tqdm([name for name, family in FAMILIES.items() if family.kind == "vlm"], unit="model"):
            model, inputs = build_family(name)
            if "input_ids" not in inputs:
                alone[name] = "its prompt is the decoder's start"
                continue
            length = inputs["input_ids"].shape[1]
            sharing = measure(model, asked(inputs, 0, 3, 7, 5), length)
            if sharing.manner is None:
                alone[name] = sharing.reason
                continue
            other = change_pixels(inputs, 1)
            prompts = asked(other, 1, 21, 4, 33)
            count = len(inputs["input_ids"])
            tails = [split(prompt, length)[1] for prompt in prompts]
            rows = [{key: tail[key][row : row + 1] for key in tail} for tail in tails for row in range(count)]
            state = branch(start(model, other, sharing.manner), torch.arange(count).repeat(len(prompts)))
            wanted = torch.cat([full(model, prompt) for prompt in prompts])
            off[name] = difference(advance(model, state, rows, sharing.manner), wanted)
    for name, reason in alone.items():
        print(f"{name:28s} {reason}")
    wrong = [name for name, amount in off.items() if amount > 1e-5]
    print(f"{len(off)} families share the prefix, {len(alone)} take full forwards, {len(wrong)} are wrong", *wrong)
    print(f"largest difference of a logit from a full forward's: {max(off.values()):.1e} of the largest logit")


def _asks(image: Path | None, levels: int) -> list[Ask]:
    from evaluation.asks import Ask

    asks = []
    for level, names in list(LEVELS.items())[-levels:]:
        options = " ".join(f"{letter}. {name}" for letter, name in zip("ABCD", names, strict=True))
        text = f"Based on taxonomy, what is the {level} of the bird in this image? {options}"
        key = f"{image and image.stem}#{level}"
        asks.append(Ask(key, image, f"{text} Answer with the option letter only.", ("A", "B", "C", "D")))
    return asks


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    commands = {"run": Command(AskingBenchConfig, run), "families": Command(FamiliesConfig, families)}
    sys.exit(main("python benchmarks/asking.py", commands, "run"))
