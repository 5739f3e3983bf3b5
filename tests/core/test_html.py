"""What notebooks show."""

from html.parser import HTMLParser

import numpy as np
import pytest
from multiparam_numpy import Buffer, Linear

import multiparam as mp
from multiparam.html import MOST_ROWS, histogram, table, text

VOID = {"meta", "rect"}


class Reader(HTMLParser):
    """Reads HTML, and refuses what is not closed in turn."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.ids, self.links, self.labels, self.words = [], [], [], [], []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"].removeprefix("#")] if "href" in found else []
        self.labels += [found["aria-label"]] if "aria-label" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def shown(thing):
    return Reader(thing._repr_html_())


@pytest.fixture
def net():
    shared = mp.nn.Linear(4, 4)
    made = mp.nn.Sequential({"<b>block</b>": shared, "act & norm": mp.nn.ReLU(), "again": shared})
    mp.initialize(made, mp.init.Uniform(-1, 1), seed=0)
    return made


def test_names_are_text_and_no_markup(net):
    for thing in (mp.summary(net), mp.parameters(net), mp.parameters(net)["again.weight"]):
        assert "<b>" in "".join(shown(thing).words)


def test_a_tie_is_a_link_to_where_the_parameter_stands(net):
    page = shown(mp.summary(net))
    assert [one.partition("-")[2].partition("-")[2] for one in page.links] == [
        "<b>block</b>.weight",
        "<b>block</b>.bias",
    ]
    assert set(page.links) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.ids).isdisjoint(shown(mp.summary(net)).ids)  # or a link would lead into another cell


def test_a_printed_summary_is_text_in_a_notebook_too(monkeypatch, capsys):
    net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU())
    outside = str(mp.summary(net))
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a notebook's kernel has it
    assert str(mp.summary(net)) == outside
    assert "(8, 4)" in outside
    assert not capsys.readouterr().out


def test_a_drawing_says_in_words_what_it_shows(net):
    (label,) = shown(mp.parameters(net)["again.weight"]).labels
    values = mp.parameters(net)["again.weight"].value
    assert label.startswith(f"16 values from {values.min():.3g} to {values.max():.3g}, mean {values.mean():.3g}")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([1.0, np.nan, np.inf]), "2 not finite"),
        (np.array([np.nan]), "no finite number"),
        (np.array([1e308, -1e308]), "from -1e+308 to 1e+308"),
        (np.zeros(3, np.int8), "3 values from 0 to 0"),
        (np.array([True, False]), "from 0 to 1"),
        (np.array([3 + 4j]), "from 5 to 5"),
    ],
    ids=str,
)
def test_numbers_of_every_sort_are_drawn(values, said):
    assert said in histogram(values)


def test_nothing_is_drawn_of_an_empty_tensor_or_a_huge_one():
    assert histogram(np.empty(0)) == histogram(np.broadcast_to(np.float32(1), (3000, 3000))) == ""


def test_long_tables_say_how_much_is_left_out():
    page = Reader(table(("name",), [(str(at),) for at in range(MOST_ROWS + 5)]))
    assert "… and 5 more" in page.words
    many = mp.nn.Sequential(*(mp.nn.Linear(1, 1) for _ in range(MOST_ROWS)))
    assert f"{2 * MOST_ROWS} tensors, the first {MOST_ROWS}" in shown(mp.parameters(many)).words


def test_frozen_lazy_and_buffers_are_said():
    layer = Linear(2, 2)
    layer.mean = Buffer(np.zeros(2))
    layer.weight.trainable = False
    words = shown(mp.state(layer)).words
    assert "buffer" in words
    lazy = mp.nn.Sequential(mp.nn.LazyLinear(3))
    assert "at the first batch" in shown(mp.parameters(lazy)).words
    assert "none before the first batch" in shown(mp.parameters(lazy)["0.weight"]).words
    assert "at the first batch" in shown(mp.summary(lazy)).words


def test_reports_say_what_they_print(net, tmp_path):
    path = tmp_path / "net.safetensors"
    mp.save(net, path)
    other = mp.nn.Sequential(
        {"<b>block</b>": mp.nn.Linear(4, 4), "act & norm": mp.nn.ReLU(), "again": mp.nn.Linear(4, 4)}
    )
    reports = [
        mp.initialize(other, mp.init.Ones(), seed=0),
        mp.diff(net, other),
        mp.verify(net, other, np.ones((1, 4))),
        mp.load(path, into=other),
        mp.tie(other, "again.bias", to="<b>block</b>.bias"),
        mp.open(path),
        mp.parameters(net).select("*.bias"),
    ]
    for report in reports:
        words = "".join(shown(report).words)
        title = str(report).partition("\n")[0]
        assert title in words or isinstance(report, list)
    assert "again" in "".join(shown(reports[1]).words)


def test_what_would_move_the_cursor_is_shown_as_in_a_program():
    assert text("a\x1b[2J<") == "a\\x1b[2J&lt;"
