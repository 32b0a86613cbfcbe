"""The protocol on planted truth: what is there is found, what is not there is not, and test is only read."""

from dataclasses import replace

import numpy as np
import pytest

from commandline import InputError
from probing.plan import make_plan
from probing.protocol import Settings, probe_site
from probing.scores import Scorer
from taxonomy import Taxonomy
from tests.probing.planted import balanced_tree, clusters, ragged_tree, rows_of

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3)
SETTINGS = Settings(PENALTIES, shuffles=2)


def planned(tree: Taxonomy, per_leaf: int, **changes):
    leaf, split = rows_of(tree, per_leaf)
    return make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))], **changes)


def scored(X: np.ndarray, plan, settings: Settings = SETTINGS):
    """The levels' records by level, and the site's."""
    levels, site = Scorer(plan, draws=300, seed=0, refit=settings.refit).score(probe_site(X, plan, settings))
    return {record["level"]: record for record in levels}, site


def bayes_accuracy(X: np.ndarray, plan, means: np.ndarray, spread: float, level: str) -> float:
    """The accuracy of the best possible answer: posterior of each leaf, summed over the leaves of each node."""
    rows = plan.split == "test"
    distance = ((X[rows, None] - means) ** 2).sum(2)
    posterior = np.exp(-(distance - distance.min(1, keepdims=True)) / (2 * spread**2))
    codes = plan.taxonomy.codes[:, plan.taxonomy.level_index(level)]
    mass = np.stack([posterior[:, codes == code].sum(1) for code in range(codes.max() + 1)], 1)
    return float((mass.argmax(1) == plan.labels(level)[rows]).mean())


def test_planted_clusters_are_read_as_well_as_they_can_be() -> None:
    tree = balanced_tree((2, 4, 12))
    plan = planned(tree, 120)
    spread = 1.0
    X, means = clusters(tree, plan.leaf, spread)
    levels, site = scored(X, plan)
    for level in tree.levels:
        best = bayes_accuracy(X, plan, means, spread, level)
        assert best - 0.05 <= levels[level]["accuracy"] <= best + 0.02
        assert levels[level]["accuracy_low"] <= levels[level]["accuracy"] <= levels[level]["accuracy_high"]
        assert levels[level]["accuracy"] > levels[level]["shuffled_high"]
        assert levels[level]["converged"]
        assert levels[level]["unseen"] == 0
    assert levels["species"]["accuracy"] < 0.9, "the test should not be trivial"
    assert site["hca"] <= min(record["accuracy"] for record in levels.values())
    assert site["frechet_low"] <= site["hca"] <= site["frechet_high"]
    assert site["leaf_lookup"] == levels["species"]["accuracy"]
    assert site["hca"] > site["shuffled_high"]


def test_probes_of_shuffled_labels_know_nothing() -> None:
    tree = balanced_tree((2, 4, 12))
    plan = planned(tree, 60)
    X, _ = clusters(tree, plan.leaf, 0.1)
    probes = probe_site(X, plan, SETTINGS)
    truth = plan.scored_path[plan.test_units]
    assert probes.shuffled.shape == (2, len(truth), 3)
    assert (probes.levels["species"].predicted == truth[:, 2]).mean() > 0.95
    assert (probes.shuffled[..., 2] == truth[:, 2]).mean() < 0.3
    of_species = {code: path for *path, code in tree.codes.tolist()}
    agree = [of_species[species] == [order, family] for order, family, species in probes.shuffled[0].tolist()]
    assert np.mean(agree) > 0.35, "paths are shuffled whole: by chance a family would fit 1 in 4 species"


@pytest.mark.parametrize("tree", [balanced_tree((2, 4, 12)), ragged_tree()], ids=["balanced", "ragged"])
def test_readings_of_shuffled_probes_are_paths_of_the_tree_and_their_nulls_are_chance(tree: Taxonomy) -> None:
    plan = planned(tree, 60)
    X, _ = clusters(tree, plan.leaf, 0.1)
    probes = probe_site(X, plan, SETTINGS)
    codes = tree.codes[:, [tree.level_index(level) for level in plan.scored]]
    truth = plan.scored_path[plan.test_units]
    assert set(probes.shuffled_readings) == {"top_down", "joint", "leaf_lookup"}
    for name, found in probes.shuffled_readings.items():
        assert found.shape == (2, *truth.shape)
        assert (found[0] != found[1]).any(), "two shuffles are two draws"
        if name == "joint":  # never contradicts itself
            known = {tuple(np.where(present, path, -1)) for path in codes for present in truth >= 0}
            assert {tuple(path) for path in found[0]} <= known
        assert ((found == truth).all(2)).mean() < 0.35
    site = Scorer(plan, draws=100, seed=0, refit=True).score(probes)[1]
    for name in probes.shuffled_readings:
        low, middle, high = (site[f"shuffled_{name}{end}"] for end in ("_low", "", "_high"))
        assert low <= middle <= high < 0.5 < site[name]
        assert middle > 0.02, "chance is not never"


def test_the_record_counts_what_it_says() -> None:
    tree = balanced_tree()
    plan = planned(tree, 16)
    X, _ = clusters(tree, plan.leaf, 0.5)
    record = scored(X, plan)[0]["family"]
    assert (record["n_train"], record["n_validation"], record["n_test"]) == (96, 32, 32)
    assert (record["classes"], record["classes_test"], record["leaves_test"]) == (4, 4, 8)
    assert record["majority"] == pytest.approx(1 / 4)
    unrefitted = scored(X, plan, replace(SETTINGS, refit=False))[0]["family"]
    assert unrefitted["n_train"] == 64


def test_test_labels_and_features_change_no_probe() -> None:
    tree = balanced_tree()
    plan = planned(tree, 16)
    X, _ = clusters(tree, plan.leaf, 1.0)
    first = probe_site(X, plan, SETTINGS)
    test = plan.split == "test"
    X[test] = np.random.default_rng(1).normal(size=(int(test.sum()), X.shape[1]))
    path = plan.path.copy()
    path[test] = path[test][::-1]
    second = probe_site(X, replace(plan, path=path), SETTINGS)
    for level, probe in first.levels.items():
        np.testing.assert_array_equal(probe.fit.coef, second.levels[level].fit.coef)
        assert probe.penalty == second.levels[level].penalty


def test_the_penalty_is_the_one_with_the_lowest_validation_loss_and_the_refit_is_plain() -> None:
    from probing import fit_grid

    tree = balanced_tree()
    plan = planned(tree, 16)
    X, _ = clusters(tree, plan.leaf, 1.5)
    probe = probe_site(X, plan, replace(SETTINGS, tol=1e-6)).levels["species"]
    labels, train, held = plan.labels("species"), plan.split == "train", plan.split == "validation"
    alone = fit_grid(X[train], {"y": labels[train]}, PENALTIES, tol=1e-6)
    losses = {
        penalty: -np.log(alone.predict_proba(X[held], "y", penalty)[np.arange(held.sum()), labels[held]]).mean()
        for penalty in PENALTIES
    }
    assert probe.penalty == min(losses, key=losses.__getitem__)
    for penalty, loss in losses.items():
        assert probe.validation[penalty][0] == pytest.approx(loss, rel=1e-3)
    both = train | held
    again = fit_grid(X[both], {"y": labels[both]}, [probe.penalty], tol=1e-6)
    np.testing.assert_allclose(probe.fit.coef, again.coef("y", probe.penalty), atol=1e-3)


def test_ragged_levels_are_read_where_they_are() -> None:
    tree = ragged_tree()
    plan = planned(tree, 40)
    X, _ = clusters(tree, plan.leaf, 0.1)
    levels, site = scored(X, plan)
    assert levels["root"]["unscored"] == "it has one node"
    assert "accuracy" not in levels["root"]
    assert (levels["kind"]["n_test"], levels["name"]["n_test"]) == (80, 60)
    assert levels["name"]["classes"] == 6
    assert site["n_test"] == 80
    assert site["hca"] > 0.95
    assert site["leaf_lookup"] > 0.95
    probes = probe_site(X, plan, SETTINGS)
    short = plan.leaf[plan.test_units] >= 6
    assert (probes.levels["name"].predicted[short] == -1).all()
    found = probes.predicted_leaf(plan)
    assert found is not None
    assert (found == plan.leaf[plan.test_units]).mean() > 0.95  # the short leaves too


def test_a_node_never_trained_on_counts_as_wrong_and_is_counted() -> None:
    tree = balanced_tree()
    leaf, split = rows_of(tree, 16)
    split[leaf == 0] = np.where(split[leaf == 0] == "test", "test", "validation")
    plan = make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))])
    X, _ = clusters(tree, leaf, 0.2)
    levels, _ = scored(X, plan, replace(SETTINGS, refit=False))
    assert levels["species"]["unseen"] == 4
    assert levels["species"]["accuracy"] == pytest.approx(28 / 32)
    probe = probe_site(X, plan, replace(SETTINGS, refit=False)).levels["species"]
    known = (split == "test") & (leaf != 0)
    logits = probe.fit.logits(X[known]).astype(float)
    by_hand = np.log(np.exp(logits).sum(1)) - logits[np.arange(28), plan.labels("species")[known] - 1]
    assert probe.classes.tolist() == list(range(1, 8))
    assert levels["species"]["log_loss"] == pytest.approx(by_hand.mean(), rel=1e-4)


def test_a_lookup_of_leaves_fails_on_leaves_never_seen_and_a_family_direction_does_not() -> None:
    tree = balanced_tree((2, 4, 32))
    rng = np.random.default_rng(0)
    plan = planned(tree, 12, kind="leaf")
    leaves_only = np.eye(32)[plan.leaf] @ rng.normal(size=(32, 32)) + 0.1 * rng.normal(size=(len(plan.leaf), 32))
    levels, site = scored(leaves_only.astype(np.float32), plan)
    assert levels["family"]["accuracy"] < 0.6
    assert np.isnan(site["leaf_lookup"])
    image = planned(tree, 12)
    assert scored(leaves_only.astype(np.float32), image)[0]["family"]["accuracy"] > 0.95
    X, _ = clusters(tree, plan.leaf, 0.1, width=32)
    assert scored(X, plan)[0]["family"]["accuracy"] > 0.9


def test_text_rows_make_one_path_per_leaf() -> None:
    tree = balanced_tree((2, 4, 40))
    leaf = np.repeat(np.arange(40), 2)
    asked = np.tile(["order", "family"], 40)
    split = np.array(["train", "train", "validation", "test"])[leaf % 4]
    plan = make_plan(tree, leaf, split, [str(i) for i in range(80)], asked=asked)
    X, _ = clusters(tree, leaf, 0.05)
    levels, site = scored(X, plan)
    assert (levels["order"]["n_test"], levels["family"]["n_test"], site["n_test"]) == (10, 10, 10)
    assert levels["order"]["n_train"] == 30
    assert site["hca"] == 1


def test_validation_hca_is_that_of_the_probes_of_train_alone_at_the_chosen_penalties() -> None:
    from probing import fit_grid

    tree = ragged_tree()
    plan = planned(tree, 16)
    X, _ = clusters(tree, plan.leaf, 1.5)
    probes = probe_site(X, plan, SETTINGS)
    train, held = plan.split == "train", plan.split == "validation"
    right = np.ones(int(held.sum()), bool)
    for level in plan.scored:
        labels = plan.labels(level)
        penalty = probes.levels[level].penalty
        alone = fit_grid(X[train], {level: labels[train]}, [penalty], tol=SETTINGS.tol)
        right &= (alone.predict(X[held], level, penalty) == labels[held]) | (labels[held] < 0)
    assert 0.2 < right.mean() < 0.9, "the test should not be trivial"
    site = Scorer(plan, draws=100, seed=0, refit=True).score(probes)[1]
    assert site["validation_hca"] == pytest.approx(right.mean(), abs=1 / len(right))
    assert site["n_validation"] == len(right) == 32


def test_the_majority_is_that_of_what_was_fitted_not_of_test() -> None:
    tree = balanced_tree((2, 4, 8))
    leaf = np.repeat(np.arange(8, dtype=np.int32), [12, 4, 4, 4, 4, 4, 4, 12])
    split = np.where(leaf == 0, "train", np.where(leaf == 7, "test", "validation"))
    for species in range(8):
        rows = np.flatnonzero(leaf == species)
        split[rows[:3]] = ["train", "validation", "test"]
    split[(leaf > 0) & (leaf < 7) & (np.arange(len(leaf)) % 4 == 3)] = "train"
    plan = make_plan(tree, leaf, split, [str(i) for i in range(len(leaf))])
    X, _ = clusters(tree, leaf, 0.5)
    levels, site = scored(X, plan)
    tested = leaf[split == "test"]
    assert len(tested) == 8 + 9
    assert levels["species"]["majority"] == pytest.approx((tested == 0).mean()) == pytest.approx(1 / 17)
    assert levels["family"]["majority"] == pytest.approx((tested < 2).mean()) == pytest.approx(2 / 17)
    assert site["majority_path"] == pytest.approx(1 / 17)


def test_the_most_common_path_has_a_level() -> None:
    plan = planned(ragged_tree(), 16, levels=["name"])
    X, _ = clusters(ragged_tree(), plan.leaf, 0.5)
    assert scored(X, plan)[1]["majority_path"] == pytest.approx(1 / 6)


def test_null_probes_are_fitted_at_the_chosen_penalty() -> None:
    from probing import fit_grid

    tree = balanced_tree((2, 4, 12))
    plan = planned(tree, 40)
    X, _ = clusters(tree, plan.leaf, 0.3)
    probes = probe_site(X, plan, SETTINGS)
    penalty = probes.levels["species"].penalty
    assert penalty < max(PENALTIES)
    fitted = plan.split != "test"
    units = np.flatnonzero(fitted)
    path = plan.path.copy()
    path[units] = path[np.random.default_rng([SETTINGS.seed, 1]).permutation(units)]
    labels = plan.labels("species", path)[fitted]
    alone = fit_grid(X[fitted], {"y": labels}, [penalty, max(PENALTIES)], tol=SETTINGS.tol)
    found = probes.shuffled[0, :, 2]
    assert (alone.predict(X[~fitted], "y", penalty) == found).mean() > 0.97
    assert (alone.predict(X[~fitted], "y", max(PENALTIES)) == found).mean() < 0.9


def test_a_penalty_can_be_chosen_by_accuracy() -> None:
    tree = balanced_tree((2, 4, 12))
    plan = planned(tree, 12)
    X, _ = clusters(tree, plan.leaf, 1.0, seed=2)
    by = {
        select: probe_site(X, plan, replace(SETTINGS, select=select)).levels["species"]
        for select in ("log_loss", "accuracy")
    }
    losses, accuracies = ({penalty: v[i] for penalty, v in by["accuracy"].validation.items()} for i in range(2))
    assert by["log_loss"].penalty == min(losses, key=losses.__getitem__)
    assert by["accuracy"].penalty == max(sorted(accuracies, reverse=True), key=accuracies.__getitem__)
    assert by["accuracy"].penalty != by["log_loss"].penalty, "the test should tell them apart"


def test_leaf_lookup_asks_for_every_level() -> None:
    tree = ragged_tree()
    plan = planned(tree, 16)
    X, _ = clusters(tree, plan.leaf, 0.1)
    probes = probe_site(X, plan, SETTINGS)
    leaf = plan.leaf[plan.test_units]
    wrong = np.where(leaf == 6, 7, np.where(leaf == 0, 1, leaf))  # another kind, which ends there; a sibling
    scorer = Scorer(plan, draws=100, seed=0, refit=True)
    assert probes.leaf is not None
    for named, share in ((wrong, 24 / 32), (leaf, 1)):
        sure = np.where(np.arange(8) == named[:, None], 0, -np.inf)
        renamed = replace(probes.leaf, classes=np.arange(8), log_probabilities=sure)
        assert scorer.score(replace(probes, leaf=renamed))[1]["leaf_lookup"] == pytest.approx(share)


def test_a_path_of_penalties_that_did_not_converge_is_told() -> None:
    tree = balanced_tree()
    plan = planned(tree, 16)
    X, _ = clusters(tree, plan.leaf, 0.5)
    assert all(record["path_converged"] for record in scored(X, plan)[0].values())
    levels, site = scored(X, plan, replace(SETTINGS, max_iter=1))
    assert not any(record["path_converged"] or record["converged"] for record in levels.values())
    assert not site["converged"]


def test_a_leaf_probe_that_did_not_converge_is_told() -> None:
    tree = ragged_tree()
    plan = planned(tree, 16)
    X, _ = clusters(tree, plan.leaf, 0.5)
    probes = probe_site(X, plan, SETTINGS)
    scorer = Scorer(plan, draws=100, seed=0, refit=True)
    assert probes.leaf is not None
    assert probes.leaf.converged
    assert scorer.score(probes)[1]["converged"]
    failed = replace(probes.leaf, fit=replace(probes.leaf.fit, converged=False))
    assert not scorer.score(replace(probes, leaf=failed))[1]["converged"]
    short = probe_site(X, plan, replace(SETTINGS, max_iter=1))
    assert short.leaf is not None
    assert not short.leaf.converged


def test_a_score_that_is_nowhere_finite_is_an_error() -> None:
    tree = balanced_tree()
    plan = planned(tree, 16)
    X, _ = clusters(tree, plan.leaf, 0.5)
    X[plan.split == "train"] *= 1e-6
    X[plan.split == "validation"] *= 1e37
    with np.errstate(all="ignore"), pytest.raises(InputError, match="no penalty for order can be chosen"):
        probe_site(X, plan, SETTINGS)


def noise_within_null(seed: int) -> list[bool]:
    """Whether the numbers of one site of pure noise are within their nulls: levels, macro, HCA."""
    tree = balanced_tree((2, 4, 8))
    plan = planned(tree, 24)
    X = np.random.default_rng(seed).normal(size=(len(plan.leaf), 24)).astype(np.float32)
    levels, site = scored(X, plan, replace(SETTINGS, seed=seed, controls=0))
    numbers = [(record["accuracy"], record, "shuffled") for record in levels.values()]
    numbers += [(record["macro_accuracy"], record, "shuffled_macro") for record in levels.values()]
    numbers.append((site["hca"], site, "shuffled"))
    return [r[f"{of}_low"] - 1e-9 <= value <= r[f"{of}_high"] + 1e-9 for value, r, of in numbers]


@pytest.mark.slow
def test_noise_is_within_its_null() -> None:
    within = np.array([noise_within_null(seed) for seed in range(6)])
    assert within.sum() >= within.size - 6
