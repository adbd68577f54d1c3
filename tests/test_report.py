"""The page of a comparison: all that the record holds stands in it, in its place, and nothing that a user wrote is
anything but text."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest

from comparisons import FAILURE, HOSTILE, REASON, SCRIPTED, small_comparison
from variata import RunError
from variata_plugins.comparison.record import FILE
from variata_plugins.comparison.report.contents import Models
from variata_plugins.comparison.report.curves import charts_of
from variata_plugins.comparison.report.numbers import said, ticks
from variata_plugins.comparison.report.pictures import graph_markup
from variata_plugins.comparison.report.writing import write_report

VOID = {"meta", "link", "img", "input", "br", "line"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    below: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        found = [self] if self.tag == tag else []
        return found + [other for child in self.below for other in child.all(tag)]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


class Reader(HTMLParser):
    """The page as a tree; the text of an element is that of all below it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Element("root", {})]
        self.feed(text)
        assert [element.tag for element in self.stack] == ["root"]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].below.append(element)
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.stack.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop().tag == tag

    def handle_data(self, data):
        for element in self.stack:
            element.text += data


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison") / "c"
    found = small_comparison(folder)
    (folder.parent / "outside.png").write_bytes((folder / "samples.png").read_bytes())
    write_report(folder)
    return folder, found


@pytest.fixture(scope="module")
def page(comparison):
    folder, _ = comparison
    return Reader((folder / "report.html").read_text(encoding="utf-8")).stack[0]


def table(page: Element, caption: str) -> list[Element]:
    return [found for found in page.all("table") if found.all("caption")[0].words.startswith(caption)]


def rows(found: Element) -> list[list[Element]]:
    return [[cell for cell in row.below if cell.tag in ("td", "th")] for row in found.all("tbody")[0].all("tr")]


def test_every_figure_of_the_record_stands_in_it_in_full(comparison, page):
    _, record = comparison
    (every,) = table(page, "Every figure")
    shown = Counter((row[0].words, row[1].words, row[2].words, row[3].attributes["data-value"]) for row in rows(every))
    held = Counter(
        (" ".join(f.model.split()), str(f.seed), f.metric, "" if f.value is None else repr(f.value))
        for f in record.figures
    )
    assert shown == held


def test_figures_that_may_not_be_compared_stand_apart_with_the_reason(comparison, page):
    apart = table(page, "-log p(x)")
    assert [[row[0].words for row in rows(found)] for found in apart[:2]] == [["vae"], [HOSTILE]]
    assert all(REASON[1:] in found.all("caption")[0].words for found in apart[:2])
    (together,) = table(page, "Bits per dimension")
    assert [row[0].words for row in rows(together)] == ["vae", HOSTILE]
    assert [float(row[1].attributes["data-value"]) for row in rows(together)] == pytest.approx([0.52, 0.645])
    assert all("≤" in row[1].words and "± 0.12" in row[1].words and "± 0.75" in row[3].words for row in rows(together))
    (absent,) = table(page, "Likelihoods: what does not apply, and why")
    assert [cell.words for cell in rows(absent)[0]] == ["gan", "-log p(x), nats", "GAN: no <i>likelihood</i>"]


def test_tracks_keep_the_order_and_the_distance_of_values(page):
    (together,) = table(page, "Bits per dimension")
    tracks = [row[2].all("span") for row in rows(together)]
    at = [float(re.findall(r"left:([-\d.]+)%", spans[1].attributes["style"])[0]) for spans in tracks]
    left, width = re.findall(r"([-\d.]+)%", tracks[0][0].attributes["style"])
    assert 0 <= at[0] < at[1] <= 100
    assert at[0] - float(left) == pytest.approx(float(width) / 2, abs=0.02)
    per_unit = (at[1] - at[0]) / 0.125
    assert float(width) == pytest.approx(1.5 * per_unit, rel=1e-3)


def test_differences_cost_runs_and_the_command_stand_in_it(comparison, page):
    _, record = comparison
    (pairs,) = [found for found in table(page, "-log p(x)") if "a − b" in found.all("caption")[0].words]
    assert [cell.words for cell in rows(pairs)[0]] == ["vae", HOSTILE, "~ −1.06 ± 0.25", "", "± 0.50"]
    (models,) = table(page, "The models")
    assert [cell.words for cell in rows(models)[0]] == ["vae", "ok", "VAE", "binary", "1,234", "30", "2.5 s", "500 ms"]
    assert [cell.words for cell in rows(models)[2]][:3] == ["gan", "failed", "GAN"]
    (runs,) = table(page, "Runs")
    assert {row[3].words for row in rows(runs)} == {run.folder for model in record.models for run in model.runs}
    assert record.command in [pre.text for pre in page.all("pre")]
    assert FAILURE in page.text


def test_what_users_wrote_is_text(comparison, page):
    _, record = comparison
    assert page.all("h1")[0].words == " ".join(record.title.split())
    specifications = [pre.text for pre in page.all("pre")]
    assert all(model.yaml in specifications for model in record.models)
    assert HOSTILE in [option.text for option in page.all("option")]
    assert len(page.all("script")) == 1
    elements = everything(page)
    assert [name for e in elements for name in e.attributes if name.startswith("on")] == []
    assert {e.tag for e in elements} & {"iframe", "form", "foreignobject", "object", "embed", "base", "b", "i"} == set()
    assert "alert(1)" not in page.text
    assert len({e.attributes["id"] for e in elements if "id" in e.attributes}) == sum(
        "id" in e.attributes for e in elements
    )


def everything(element: Element) -> list[Element]:
    return [element, *(other for child in element.below for other in everything(child))]


def test_it_asks_for_nothing_and_runs_its_own_script_alone(comparison, page):
    (script,) = page.all("script")
    (policy,) = [e.attributes["content"] for e in page.all("meta") if "http-equiv" in e.attributes]
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    for element in everything(page):
        for name in ("href", "src", "action", "xlink:href"):
            assert element.attributes.get(name, "#").startswith(("#", "data:"))
    assert "url(" not in "".join(style.text for style in page.all("style"))


def test_pictures_are_in_it_and_what_is_missing_says_so(comparison, page):
    folder, _ = comparison
    images = page.all("img")
    assert len(images) == 2
    for image in images:
        assert base64.b64decode(image.attributes["src"].partition(",")[2]) == (folder / "samples.png").read_bytes()
        assert (image.attributes["width"], image.attributes["height"]) == ("30", "20")
        assert image.attributes["alt"]
    assert "its record names a file outside of it" in page.text
    assert "missing.png: cannot be read" in page.text


def test_graphs_keep_their_own_marks_alone(tmp_path, page):
    (tmp_path / "x.svg").write_text(SCRIPTED)
    kept = '<svg class="variata-graph" viewBox="0 0 9 9"><text class="ink" x="1" y="2">kept &lt;b&gt;</text></svg>'
    assert graph_markup(tmp_path / "x.svg") == kept
    whole = next(svg for svg in page.all("svg") if svg.attributes.get("class") == "variata-graph")
    assert "distortion  (train)" in whole.text
    for text in ("<html/>", "<svg", "\x00"):
        (tmp_path / "x.svg").write_text(text)
        with pytest.raises(RunError):
            graph_markup(tmp_path / "x.svg")


def test_curves_are_drawn_where_their_values_are(comparison):
    _, record = comparison
    models = Models([m.name for m in record.models], [m.yaml for m in record.models])
    own, shared = charts_of(record, models)
    assert [chart.title for chart in own] == ["vae: loss", f"{HOSTILE}: loss"]
    assert [chart.title for chart in shared] == ["elbo"]
    assert len(own[0].lines) == 4
    for chart in (*own, *shared):
        x0, x1, y0, y1 = map(float, chart.domain.split())
        for line in chart.lines:
            drawn = [tuple(map(float, pair.split(","))) for pair in line.points.split()]
            back = [(x0 + x / 1000 * (x1 - x0), y1 - y / 1000 * (y1 - y0)) for x, y in drawn]
            for found, held in zip(back, line.values, strict=True):
                assert found == pytest.approx(held, abs=0.01)


def test_charts_are_left_as_png_too(comparison):
    folder, _ = comparison
    names = {"likelihoods.png", "samples.png", "objectives.png", "curves.png", "pairs.png"}
    assert names <= {path.name for path in (folder / "charts").iterdir()}
    assert all((folder / "charts" / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_the_command_writes_it_again(comparison, command, tmp_path):
    folder, _ = comparison
    (folder / "report.html").write_text("old")
    status, out, err = command("report", folder)
    assert (status, err) == (0, "")
    assert out.split() == [str(folder / "report.html")]
    assert len((folder / "report.html").read_text(encoding="utf-8")) > 10_000
    status, out, err = command("report", tmp_path)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .*comparison\.json: cannot be read: .*\n", err)
    unknown = (folder / FILE).read_text(encoding="utf-8").replace('"a": "vae"', '"a": "nobody"')
    for damaged in ("{}", unknown):
        (tmp_path / FILE).write_text(damaged, encoding="utf-8")
        status, _, err = command("report", tmp_path)
        assert (status, len(err.splitlines())) == (2, 1)


def test_nothing_but_failures_makes_a_page(tmp_path):
    record = small_comparison(tmp_path / "c")
    record.models = record.models[2:]
    record.figures = record.groups = record.intervals = record.differences = record.pictures = []
    (tmp_path / "c" / FILE).write_text(record.to_json(), encoding="utf-8")
    text = write_report(tmp_path / "c", charts=False).read_text(encoding="utf-8")
    assert "the loss became NaN at step 7" in Reader(text).stack[0].text


def test_numbers_keep_what_their_error_leaves():
    assert said(float("nan")) == "nan"
    assert said(-0.5, 0.03) == "−0.500"
    assert said(1e12) == "1.000e+12"
    for low, high in ((0.0, 1e-3), (-7.0, 12.0), (1e6, 3e6)):
        marks = ticks(low, high)
        assert 2 <= len(marks) <= 6
        assert low <= marks[0] < marks[-1] <= high * (1 + 1e-9)
