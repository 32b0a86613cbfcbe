"""Covariances against scikit-learn, and the refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from analysis.geometry.directions import Space
from analysis.geometry.inner_products import Refused, causal_map, covariance, participation
from analysis.geometry.leaf_means import Samples
from commandline import InputError
from tests.analysis.geometry.planted import planted, tree

TAXONOMY = tree(2, 3)


def sampled(n=200, d=15, seed=0):
    features, leaf = planted(TAXONOMY, n, d, 0.4, seed)
    features = (features * np.linspace(0.5, 3, d)).astype(np.float32)
    return Samples.of(torch.from_numpy(features), leaf), features, leaf


def test_ledoit_wolf_is_that_of_scikit_learn():
    samples, features, leaf = sampled()
    total = covariance(samples, None, "auto")
    oracle = LedoitWolf().fit(features.astype(float))
    assert total.shrinkage == pytest.approx(oracle.shrinkage_, rel=1e-5)
    assert np.allclose(total.power(-1), np.linalg.inv(oracle.covariance_), rtol=1e-4, atol=1e-6)
    means = np.array([features[leaf == i].mean(0) for i in range(6)], float)
    within = covariance(samples, samples.means()[:, 0], "auto")
    oracle = LedoitWolf(assume_centered=True).fit(features - means[leaf])
    assert within.shrinkage == pytest.approx(oracle.shrinkage_, rel=1e-5)


def test_lda_directions_are_those_of_scikit_learn():
    samples, features, leaf = sampled()
    space = Space.of(samples, samples.means()[:, 0], "lda", "euclidean", 0.1, None)
    ours = samples.means()[:, 0] @ space.onto
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1, priors=np.full(6, 1 / 6)).fit(features, leaf)
    # scikit-learn shrinks each class's covariance; with equal priors their mean is the within-leaf covariance
    ours, theirs = (x - x.mean(0) for x in (ours.numpy(), oracle.coef_))
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.999


def test_too_few_samples_are_refused_unless_shrunk():
    samples, _, _ = sampled(n=25, d=15)
    with pytest.raises(Refused, match=r"n/d = 1\.67"):
        covariance(samples, None, None)
    assert covariance(samples, None, "auto").shrinkage > 0


def test_the_causal_map_keeps_logits():
    rng = np.random.default_rng(0)
    unembedding = torch.from_numpy(rng.normal(size=(100, 6)) * np.arange(1, 7))
    x = torch.from_numpy(rng.normal(size=(3, 6)))
    from analysis.geometry.inner_products import unembedding_covariance

    mapped = (x @ causal_map(unembedding)) @ (unembedding @ unembedding_covariance(unembedding).power(-0.5)).T
    assert torch.allclose(mapped, x @ unembedding.T)


def test_the_causal_product_needs_an_unembedding_of_the_same_width():
    samples, _, _ = sampled()
    with pytest.raises(InputError, match="needs the unembedding"):
        Space.of(samples, samples.means()[:, 0], "mean", "causal", "auto", None)
    with pytest.raises(InputError, match="residual stream"):
        Space.of(samples, samples.means()[:, 0], "mean", "causal", "auto", torch.ones(30, 4))


def test_effective_rank():
    rng = np.random.default_rng(0)
    wide = torch.from_numpy(rng.normal(size=(2000, 12)).astype(np.float32))
    leaf = np.arange(2000) % 6
    assert participation(Samples.of(wide, leaf), 0) == pytest.approx(12, rel=0.1)
    assert participation(Samples.of(wide * torch.tensor([1.0] * 3 + [0] * 9), leaf), 0) == pytest.approx(3, rel=0.1)
