"""Wide records as long rows, and sites as curves."""

from tracking.offline import finite, steps, table
from tracking.record import Curve, Place, along, long

NAN = float("nan")


def test_a_row_of_every_measure_that_has_an_interval() -> None:
    records = [
        {
            "site": "llm.1",
            "accuracy": 0.5,
            "accuracy_low": 0.4,
            "accuracy_high": 0.6,
            "chance": 0.1,
            "n_test": 9,
            "x": 1,
        },
        {"site": "c", "accuracy": NAN, "accuracy_low": NAN, "accuracy_high": NAN, "chance": 0.1, "n_test": 9},
    ]
    assert long(records, ["site", "layer"], {"accuracy": "chance"}) == [
        {
            "site": "llm.1",
            "layer": None,
            "measure": "accuracy",
            "value": 0.5,
            "low": 0.4,
            "high": 0.6,
            "null": 0.1,
            "n": 9,
        }
    ]


def test_sites_of_one_layer_are_one_point_and_others_stand_alone() -> None:
    curves, alone = along(
        [
            Place("llm.1", "llm", 1, {"order/accuracy": 0.5}),
            Place("llm.1", "llm", 1, {"hca": 0.25, "nothing": None}),
            Place("llm.0", "llm", 0, {"hca": 0.75}),
            Place("encoder.1", "encoder", 1, {"hca": 0.9}),
            Place("llm.final", "llm", None, {"hca": 0.1}),
        ]
    )
    assert curves == [
        Curve("llm", {1: {"order/accuracy": 0.5, "hca": 0.25}, 0: {"hca": 0.75}}),
        Curve("encoder", {1: {"hca": 0.9}}),
    ]
    assert alone == {"llm.final/hca": 0.1}
    assert steps(curves) == [
        {"layer": 0, "llm/hca": 0.75},
        {"layer": 1, "llm/order/accuracy": 0.5, "llm/hca": 0.25, "encoder/hca": 0.9},
    ]


def test_what_is_not_there_is_none_in_a_table_and_no_value_elsewhere() -> None:
    assert table([{"a": 1, "b": NAN}, {"c": "x"}]) == (["a", "b", "c"], [[1, None, None], [None, None, "x"]])
    assert finite({"a": NAN, "b": None, "c": 0.0, "d": "x"}) == {"c": 0.0, "d": "x"}
