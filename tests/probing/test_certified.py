"""Sites without a certificate are refused, unless told otherwise, and then said to be without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.report import render
from commandline import InputError
from extract import Store
from hooks.certificate import Certificate, Check
from probing.certified import overview, uncertified
from probing.config import ProbeConfig
from probing.results import ProbeRun
from probing.run import run
from tests.probing.planted import balanced_tree, clusters, rows_of, write_store


def store(path: Path, **options) -> Path:
    tree = balanced_tree()
    leaf, split = rows_of(tree, 12)
    features = {name: clusters(tree, leaf, 0.3, seed=seed)[0] for seed, name in enumerate(("encoder.1", "llm.0"))}
    return write_store(path, features, leaf, split, tree, **options)


def with_certificate(path: Path, *checks: Check) -> Path:
    found = store(path)
    Store.open(found, "r+").group.attrs["certificate"] = Certificate(checks, ("encoder.1", "llm.0")).to_dict()
    return found


def settings(path: Path, **options) -> ProbeConfig:
    return ProbeConfig(store=str(path), penalties=[0.1], shuffles=1, bootstrap=1000, **options)


def test_a_store_without_certificate_is_refused_before_any_work(tmp_path: Path) -> None:
    path = store(tmp_path / "s.zarr", certified=False)
    with pytest.raises(
        InputError, match=r"encoder.1 is not certified \(and 1 more sites\): the store was made without"
    ):
        run(settings(path))
    assert [file.name for file in tmp_path.iterdir()] == ["s.zarr"]


def test_only_the_failed_site_is_refused_with_check_and_reason(tmp_path: Path) -> None:
    path = with_certificate(
        tmp_path / "s.zarr",
        Check("own image", "encoder.1", "fail", 0.3, "sample 1's pixels move sample 0's rows"),
        Check("own image", "llm.0", "pass", 0.0, ""),
    )
    with pytest.raises(InputError, match=r"encoder\.1 failed the check 'own image': sample 1's pixels") as refused:
        run(settings(path))
    assert "--allow_uncertified true" in str(refused.value)
    run(settings(path, sites=["llm.*"]))


def test_allowed_all_the_same_it_is_said_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    reason = "<b>sample 1's</b> pixels"
    path = with_certificate(
        tmp_path / "s.zarr",
        Check("own image", "encoder.1", "fail", 0.3, reason),
        Check("own image", "llm.0", "pass", 0.0, ""),
    )
    run(settings(path, allow_uncertified=True, out=str(tmp_path / "out")))
    assert "NOT CERTIFIED: encoder.1: encoder.1 failed the check 'own image'" in capsys.readouterr().out
    found = ProbeRun.open(tmp_path / "out")
    assert {record["site"]: record["certified"] for record in found.hca} == {"encoder.1": False, "llm.0": True}
    assert {record["certified"] for record in found.probes if record["site"] == "llm.0"} == {True}
    assert list(found.summary["uncertified"]) == ["encoder.1"]
    html = render(found)
    assert "Not certified:" in html
    assert "&lt;b&gt;sample 1" in html
    assert "<b>sample 1" not in html


def test_a_model_that_failed_certifies_none_of_its_sites(tmp_path: Path) -> None:
    path = with_certificate(
        tmp_path / "s.zarr",
        Check("sees its pixels", "model", "fail", 0.0, "it is blind"),
        *(Check("own image", site, "pass", 0.0, "") for site in ("encoder.1", "llm.0")),
    )
    assert set(uncertified(Store.open(path), ["encoder.1", "llm.0"], allow=True)) == {"encoder.1", "llm.0"}


def test_a_broken_certificate_is_an_error(tmp_path: Path) -> None:
    path = store(tmp_path / "s.zarr")
    Store.open(path, "r+").group.attrs["certificate"] = {"checks": "yes"}
    with pytest.raises(InputError, match="its certificate cannot be read"):
        overview(Store.open(path))


def test_the_report_shows_what_was_checked(tmp_path: Path) -> None:
    path = store(tmp_path / "s.zarr")
    run(settings(path, out=str(tmp_path / "out")))
    html = render(ProbeRun.open(tmp_path / "out"))
    assert "2 of 2 sites" in html
    assert "<td>planted</td><td>2</td><td>0</td><td>0</td>" in html
    assert "Not certified:" not in html
    assert np.isclose(overview(Store.open(path))["certified"], 2)  # pyright: ignore[reportOptionalSubscript]
