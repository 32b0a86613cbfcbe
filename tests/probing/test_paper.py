"""The published protocol: trained as plain torch trains it level by level, and what it does on noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from commandline import InputError
from probing.paper_training import PaperSettings, paper_probe

EPOCHS = 12


def separable(n: int = 240, d: int = 10, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Features with three levels of 2, 4 and 8 classes in them, and a split; rows sorted by class, as in the files."""
    rng = np.random.default_rng(seed)
    finest = np.sort(np.arange(n) % 8)
    X = (2 * rng.normal(size=(8, d))[finest] + rng.normal(size=(n, d)) + 1).astype(np.float32)
    return X, {"a": finest // 4, "b": finest // 2, "c": finest}, np.where(np.arange(n) % 3 == 0, "test", "train")


def plain_torch(
    start: list[np.ndarray], X: np.ndarray, y: np.ndarray, train: np.ndarray, epochs: int, batch: int
) -> tuple[list[float], list[np.ndarray]]:
    """One level as the published script would train it: test accuracy and predictions after every epoch."""
    model = nn.Linear(X.shape[1], int(y.max()) + 1)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(start[0]))
        model.bias.copy_(torch.from_numpy(start[1]))
    data = torch.utils.data.TensorDataset(torch.from_numpy(X[train]), torch.from_numpy(y[train]))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    shares, answers = [], []
    for _ in range(epochs):
        for x, target in torch.utils.data.DataLoader(data, batch_size=batch, shuffle=False):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), target).backward()
            optimiser.step()
        with torch.no_grad():
            answers.append(model(torch.from_numpy(X[~train])).argmax(1).numpy())
        shares.append(float((answers[-1] == y[~train]).mean()))
    return shares, answers


def test_trains_every_level_as_if_alone() -> None:
    X, labels, split = separable()
    train = split != "test"
    settings = PaperSettings(learning_rate=1e-3, epochs=EPOCHS, batch_size=50)
    found = paper_probe(X, labels, split, settings)
    start = paper_probe(X, labels, split, PaperSettings(learning_rate=0.0, epochs=1))
    for level, y in labels.items():
        shares, answers = plain_torch(list(start[level].best.layers[0]), X, y, train, EPOCHS, 50)
        np.testing.assert_allclose(found[level].test_accuracy, shares)
        assert found[level].best.epoch == 1 + int(np.argmax(shares))
        assert (found[level].best.predicted == answers[int(np.argmax(shares))]).all()
        assert (found[level].last.predicted == answers[-1]).all()
        assert found[level].last.epoch == EPOCHS
    assert len(set(found["c"].test_accuracy)) > 3


if __name__ == "__main__":
    pytest.main()
