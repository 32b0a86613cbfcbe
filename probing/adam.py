"""Heads trained by Adam, epoch after epoch: the MLP probe, and the probes of the published protocol.

Heads that see the same batches are one module, and their losses one sum: each weight's gradient is that of its own
head's loss, and Adam treats each weight by itself, so every head is trained as it would be alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """Classifiers side by side on one input: features (sample, feature) to the logits of all (sample, class).

    widths: the classes of each head. hidden: None for linear heads, which are one matrix together; else each head has
    a hidden layer of that many units with a ReLU behind it. like: a tensor of the dtype and on the device to use.
    Weights and intercepts start as torch's Linear layers do, uniform within 1 / sqrt(inputs), each head's drawn from
    its own generator in `rngs`.
    """

    def __init__(
        self,
        features: int,
        widths: Sequence[int],
        hidden: int | None,
        like: Tensor,
        rngs: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        pairs = zip(self.widths, rngs, strict=True)
        if hidden is None:
            parts = [_linear(features, width, like, rng) for width, rng in pairs]
            merged = _empty(features, sum(self.widths), like)
            with torch.no_grad():
                merged.weight.copy_(torch.cat([part.weight for part in parts]))
                merged.bias.copy_(torch.cat([part.bias for part in parts]))
            self.parts = nn.ModuleList([merged])
        else:
            self.parts = nn.ModuleList(
                nn.Sequential(_linear(features, hidden, like, rng), nn.ReLU(), _linear(hidden, width, like, rng))
                for width, rng in pairs
            )
        self.merged = hidden is None

    def head(self, place: int) -> list[Tensor]:
        """Weights and intercepts of one head in turn, views of the module's, without gradients."""
        if not self.merged:
            return [values.detach() for values in self.parts[place].parameters()]
        rows = slice(sum(self.widths[:place]), sum(self.widths[: place + 1]))
        return [values.detach()[rows] for values in self.parts[0].parameters()]

    def forward(self, x_ND: Tensor) -> Tensor:
        return torch.cat([part(x_ND) for part in self.parts], 1)

    def losses(self, x_ND: Tensor, label_PN: Tensor) -> Tensor:
        """The mean cross-entropy of each head, (head,), for its own labels (head, sample)."""
        logits = self(x_ND).split(self.widths, 1)
        return torch.stack([nn.functional.cross_entropy(z_NK, y_N) for z_NK, y_N in zip(logits, label_PN, strict=True)])


def train(
    heads: Heads,
    x_ND: Tensor,
    label_PN: Tensor,
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int,
    weight_decay: float = 0.0,
    shuffle: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Train `heads` in place; after each epoch, yield the mean loss of its samples before their step, (head,).

    Batches come in the order of the rows, or in a new order each epoch drawn from `shuffle`, a generator on the CPU.
    """
    optimiser = torch.optim.Adam(heads.parameters(), lr=learning_rate, weight_decay=weight_decay)
    samples = len(x_ND)
    for _ in range(epochs):
        rows_N = None if shuffle is None else torch.randperm(samples, generator=shuffle).to(x_ND.device)
        total_P = x_ND.new_zeros(len(label_PN))
        for start in range(0, samples, batch_size):
            rows = slice(start, start + batch_size) if rows_N is None else rows_N[start : start + batch_size]
            batch_ND = x_ND[rows]
            loss_P = heads.losses(batch_ND, label_PN[:, rows])
            optimiser.zero_grad()
            loss_P.sum().backward()
            optimiser.step()
            total_P += loss_P.detach() * len(batch_ND)
        yield total_P / samples


def _linear(inputs: int, outputs: int, like: Tensor, rng: torch.Generator) -> nn.Linear:
    layer = _empty(inputs, outputs, like)
    bound = inputs**-0.5
    with torch.no_grad():
        for values in (layer.weight, layer.bias):
            values.copy_(torch.empty(values.shape, dtype=like.dtype).uniform_(-bound, bound, generator=rng))
    return layer


def _empty(inputs: int, outputs: int, like: Tensor) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=like.dtype, device=like.device)
    assert isinstance(layer, nn.Linear)
    return layer
