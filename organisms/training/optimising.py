"""Steps of an optimiser under a warm-up and a falling rate, with a progress bar."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from tqdm import tqdm


class Schedule:
    """Counts the steps of a stage, and makes them. `muon`: the rate of Muon (Jordan 2024) for matrices; 0 = AdamW."""

    def __init__(self, learned: Sequence[Parameter], steps: int, what: str, rate: float, muon: float = 0.0):
        self.learned, self.steps = list(learned), steps
        matrices = [p for p in learned if p.ndim == 2] if muon else []
        held = {id(p) for p in matrices}
        rest = [p for p in learned if id(p) not in held]
        self.optimisers: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(rest, lr=rate, weight_decay=0.01, betas=(0.9, 0.98)), rate)
        ]
        if matrices:
            own = torch.optim.Muon(matrices, lr=muon, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
            self.optimisers.append((own, muon))
        self.bar = tqdm(range(steps), what, unit="step")
        self.at = 0

    def __iter__(self) -> Iterator[int]:
        for at in self.bar:
            self.at = at
            yield at

    def step(self, loss: Tensor, **shown: float) -> None:
        """One step down `loss`."""
        fall = 0.51 + 0.49 * math.cos(math.pi * self.at / self.steps)
        for optimiser, rate in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1, (self.at + 1) / 30) * fall
            optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learned, 1.0)
        for optimiser, _ in self.optimisers:
            optimiser.step()
        if self.at % 20 == 0:
            self.bar.set_postfix({name: f"{value:.2f}" for name, value in shown.items()})
