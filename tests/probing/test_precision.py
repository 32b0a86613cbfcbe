"""What a fit says of itself holds in float64, also where a user lets torch multiply float32 matrices in less.

`torch.set_float32_matmul_precision("medium")` makes float32 products of bfloat16 ones, on GPUs and on processors that
can; `allow_tf32` does the like. A gradient from such products would be recorded as smaller, or larger, than it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from probing import fit_grid
from tests.probing.test_oracle import measured

TOL = 1e-4


@pytest.fixture(params=["highest", "high", "medium"])
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


@pytest.mark.slow
def test_the_recorded_gradient_norm_holds_in_float64(precision: str) -> None:
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(2000, 512)) @ rng.normal(size=(512, 512)) / 20 + 2).astype(np.float32)
    scaler = StandardScaler().fit(X.astype(np.float64))
    Z = np.asarray(scaler.transform(X.astype(np.float64)))
    labels = (Z @ rng.normal(size=(512, 40)) / 10 + rng.gumbel(size=(2000, 40))).argmax(1)
    labels[:40] = np.arange(40)
    for penalty in (1e-1, 1e-3):
        fit = fit_grid(X, {"y": labels}, [penalty], tol=TOL, device="cpu").fit("y", penalty)
        coef = fit.coef.astype(np.float64)
        b = fit.intercept + coef @ np.asarray(scaler.mean_)
        value, norm = measured(Z, labels, coef * np.asarray(scaler.scale_), b, penalty)
        print(precision, penalty, fit.converged, fit.n_iter, fit.grad_norm, norm, fit.objective - value)
        assert norm <= 1.05 * fit.grad_norm + 1e-6, f"at precision {precision} the gradient's norm is {norm:.2e}"
        assert fit.converged
        assert abs(fit.objective - value) <= 1e-5


@pytest.mark.parametrize("precision", ["medium"], indirect=True)
def test_every_product_of_a_fit_is_in_full_precision(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    product = torch.Tensor.__matmul__

    def noted(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        seen.add(torch.get_float32_matmul_precision())
        return product(one, other)

    monkeypatch.setattr(torch.Tensor, "__matmul__", noted)
    rng = np.random.default_rng(0)
    fit_grid(rng.normal(size=(60, 5)).astype(np.float32), {"y": np.arange(60) % 3}, [0.1], device="cpu")
    assert seen == {"highest"}
    assert torch.get_float32_matmul_precision() == precision
