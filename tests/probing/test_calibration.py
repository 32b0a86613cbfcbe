"""Calibration errors of confidences whose truth is planted, and counted by hand."""

import numpy as np
import pytest

from probing.calibration import expected_calibration_error, kolmogorov_smirnov


def test_errors_by_hand() -> None:
    confidence = np.array([0.6, 0.6, 0.9, 0.9])
    right = np.array([1, 0, 1, 1], bool)
    assert expected_calibration_error(confidence, right, bins=2) == pytest.approx((0.1 + 0.1) / 2)
    # running sums of confidence less right, at the ends of ties: 0.2, then 0.2 - 0.2
    assert kolmogorov_smirnov(confidence, right) == pytest.approx(0.2 / 4)


@pytest.mark.parametrize(("claimed", "error"), [(0.0, 0.0), (0.15, 0.15)])
def test_a_planted_overconfidence_is_found(claimed: float, error: float) -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.2, 0.8, 40_000)
    right = rng.random(40_000) < true
    assert expected_calibration_error(true + claimed, right) == pytest.approx(error, abs=0.012)
    assert kolmogorov_smirnov(true + claimed, right) == pytest.approx(error, abs=0.012)


def test_without_samples_there_is_no_number() -> None:
    assert np.isnan(expected_calibration_error(np.array([]), np.array([], bool)))
    assert np.isnan(kolmogorov_smirnov(np.array([]), np.array([], bool)))
