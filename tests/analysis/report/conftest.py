"""One run that has everything, for the page and for the browser."""

import pytest

from analysis.report.material import Material, gather
from analysis.report.page import Page, compose
from tests.analysis.report.planted import answer, harmful_tree
from tests.probing.test_run import planted, probe


@pytest.fixture(scope="session")
def harmful(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Names that would do harm, answers about images and by name."""
    folder = tmp_path_factory.mktemp("harmful")
    tree = harmful_tree()
    probes = probe(planted(folder / "planted.zarr", tree), sites=["encoder.2", "projector", "llm.final"])
    images = answer(probes, tree, folder / "photos")
    return gather(probes, images=images, names=answer(probes, tree, folder / "photos", text_only=True))


@pytest.fixture(scope="session")
def harmed(harmful: Material) -> Page:
    return compose(harmful)
