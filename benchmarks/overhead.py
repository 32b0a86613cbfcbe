"""What hooks cost: capturing 30 sites beside the bare forward, on a model of half a second and on a tiny one, and
memory over many batches.

    python benchmarks/overhead.py [--repeats 15] [--batches 500]

Forwards and captures alternate in one process on one core. Bars: at most 5 % over a forward of 500 ms; at most 1 ms +
0.1 ms a site over a tiny one; no growth of memory over 500 batches.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from commandline import Command, Config, main


class HooksBenchConfig(Config):
    """Time captures against bare forwards, and watch the memory of many of them."""

    repeats: int = 15
    """Pairs of a forward and a capture on the large model; the tiny one gets ten times as many."""
    batches: int = 500
    """Captures of the tiny model after which memory must be what it was."""
    threads: int = 1
    """Of torch."""


def run(config: HooksBenchConfig) -> None:
    """Print medians, the overhead and its bar."""
    import torch

    torch.set_num_threads(config.threads)
    large = _model(width=896, vision=512, patches=6)
    _overhead("large", *large, config.repeats, lambda plain, sites: 0.05 * plain)
    tiny = _model(width=64, vision=32, patches=2)
    _overhead("tiny", *tiny, config.repeats * 10, lambda plain, sites: (1 + 0.1 * sites) / 1000)
    _memory(*tiny, config.batches)


def _model(width: int, vision: int, patches: int) -> tuple[Any, dict[str, Any]]:
    """An untrained LLaVA of 10 vision and 16 LLM blocks, and a batch of two images of patches x patches."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    heads = width // 64 or 1
    tower = CLIPVisionConfig(
        hidden_size=vision, intermediate_size=4 * vision, num_hidden_layers=10, num_attention_heads=vision // 32,
        image_size=14 * patches, patch_size=14,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=512, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=16,
        num_attention_heads=heads, num_key_value_heads=heads,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(LlavaConfig(vision_config=tower, text_config=text, image_token_index=500))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 400, (2, patches**2 + 24), generator=generator)
    ids[:, 4 : 4 + patches**2] = 500
    pixels = torch.randn(2, 3, 14 * patches, 14 * patches, generator=generator)
    return model.eval(), {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def _overhead(name: str, model: Any, inputs: dict[str, Any], repeats: int, bar: Callable[[float, int], float]) -> None:
    import torch

    from hooks import capture, find_sites

    def bare() -> None:
        with torch.no_grad():
            model(**inputs, use_cache=False)

    untouched = statistics.median(_seconds(bare) for _ in range(repeats))
    found = find_sites(model, inputs)
    reads = found.select(found.names[-30:])

    def read() -> None:
        capture(model, inputs, reads)

    read()
    pairs = [(_seconds(bare), _seconds(read)) for _ in range(repeats)]
    plain = statistics.median(pair[0] for pair in pairs)
    over = statistics.median(second - first for first, second in pairs)
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    print(f"{name}: {size:.1f}M parameters, {len(reads)} sites")
    print(f"  bare forward     {1000 * plain:.2f} ms (before nnsight wraps the model {1000 * untouched:.2f} ms)")
    print(f"  capture adds     {1000 * over:.2f} ms, {100 * over / plain:.1f} % (median of {repeats} pairs)")
    print(f"  bar              {1000 * bar(plain, len(reads)):.2f} ms")


def _memory(model: Any, inputs: dict[str, Any], batches: int) -> None:
    import psutil

    from hooks import capture, find_sites

    sites, process = find_sites(model, inputs), psutil.Process()
    for _ in range(50):
        capture(model, inputs, sites)
    before = process.memory_info().rss
    for _ in range(batches):
        capture(model, inputs, sites)
    grown = process.memory_info().rss - before
    print(f"memory: {grown / 2**20:+.1f} MiB after {batches} captures of all {len(sites)} sites (bar: none)")


def _seconds(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main("python benchmarks/overhead.py", {"run": Command(HooksBenchConfig, run)}, "run"))
