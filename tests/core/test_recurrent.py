"""Rows of recurrent layers, of native layers that are lists of cells."""

import pytest

from multiparam.adapter import At, Fold, RecurrentCell, cell_row, recurrent_row

GIVEN = {"weight_ih": At("kernel")}


def row_of():
    return recurrent_row(list, iter, lambda native: {"merge": "concat"})


def cell(name="LSTM", sources=GIVEN, **options):
    return RecurrentCell(name, sources, **options)


def test_each_cell_has_its_own_names():
    layer = [
        cell(folds={"bias_hh": Fold("bias_ih")}, lazy={"weight_ih": (8, None)}, layer=layer, reverse=reverse)
        for layer in (0, 1)
        for reverse in (False, True)
    ]
    ends = ["l0", "l0_reverse", "l1", "l1_reverse"]
    assert row_of().kind_of(layer) == "LSTM"
    assert list(row_of().sources_of(layer)) == [f"weight_ih_{end}" for end in ends]
    assert row_of().folds_of(layer) == {f"bias_hh_{end}": Fold(f"bias_ih_{end}") for end in ends}
    assert row_of().lazy(layer) == {f"weight_ih_{end}": (8, None) for end in ends}


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ([cell("LSTM"), cell("GRU", reverse=True)], "list of LSTM and GRU"),
        ([cell("LSTM"), cell("Mine", {}, reverse=True)], "list of LSTM and Mine"),
        ([cell("LSTM", {})], "list of LSTM"),  # a class of the user's that is called as a kind is
        ([cell("LSTM"), cell("LSTM", {}, reverse=True)], "list of LSTM"),
        ([cell("Linear", {})], "list of Linear"),
        ([], "list of another cell"),
    ],
)
def test_cells_of_no_one_kind_keep_their_own_names(layer, kind):
    assert row_of().kind_of(layer) == kind
    assert not row_of().sources_of(layer)
    assert not row_of().folds_of(layer)


def test_a_cell_that_one_framework_has_is_of_a_kind_without_names():
    apart = cell("GRU(reset_after=False)", {})
    assert row_of().kind_of([apart]) == "GRU(reset_after=False)"
    assert not row_of().sources_of([apart])
    assert cell_row(object, lambda native: apart).kind_of(None) == "GRUCell(reset_after=False)"
    assert cell_row(object, lambda native: cell("LSTM", {})).kind_of(None) == "LSTM"


def test_settings_that_differ_between_cells_are_all_told():
    layer = [cell(settings={"activation": "tanh", "residual": False}), cell(settings={"activation": "relu"})]
    assert row_of().settings(layer) == {"activation": "tanh, relu", "residual": False, "merge": "concat"}


@pytest.mark.parametrize(
    ("layer", "lazy"),
    [
        ([cell(), cell(reverse=True)], {}),
        ([cell(lazy={"weight_ih": None}), cell(lazy=None, reverse=True)], None),
        ([cell("Mine", {})], {}),
        ([cell("Mine", {}, lazy=None)], None),
        ([cell("LSTM", lazy={"weight_ih": None}), cell("GRU", reverse=True)], None),  # under names of their own
    ],
)
def test_what_is_known_before_the_first_batch(layer, lazy):
    assert row_of().lazy(layer) == lazy
