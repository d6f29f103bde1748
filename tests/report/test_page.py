import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motedet.report.page import (
    GalleryEntry,
    ReportContext,
    SplitFacts,
    embedded_image,
    render_report,
    write_report,
)

LOG = "epoch,step,train/loss,lr-SGD,val/AP,val/AP_vt\n0,1,2.0,0.1,,\n0,2,1.0,0.2,,\n0,2,,,0.3,0.1\n"
VALUES = {"AP": 0.5, "AP50": 0.75, "AP_vt": 0.25, "AP_t": -1.0, "AR@1": 0.125, "oLRP": float("nan")}


class Page(HTMLParser):
    """Collects what a page refers to and checks that its tags nest."""

    VOID = ("meta", "img", "source", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href", "data", "poster", "action"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def image(address: str) -> Image.Image:
    head, _, content = address.partition(",")
    assert re.fullmatch(r"data:image/(png|jpeg);base64", head)
    decoded = Image.open(io.BytesIO(base64.b64decode(content, validate=True)))
    decoded.load()
    return decoded


def full(folder: Path) -> ReportContext:
    (folder / "metrics.csv").write_text(LOG)
    noise = np.random.default_rng(0).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    return ReportContext(
        name="run <1>",
        command="motedet train demo --data ../data",
        recipe_yaml="kind: fcos\nname: '<b>'\n",
        seed=7,
        summary={"detector": "FCOS & co"},
        splits=(
            SplitFacts(name="train", images=5, sizes=np.array([1.0, 4, 9, 20]), classes={"car": 4}),
            SplitFacts(name="val", images=2, sizes=np.zeros(0), problems={"outside": 3}),
        ),
        history=folder / "metrics.csv",
        protocol="AI-TOD",
        values=VALUES,
        per_class={"car": VALUES, "bus": VALUES},
        notes=("the cap was hit",),
        best=(GalleryEntry(title="a.png", image=Image.new("RGB", (30, 20)), caption="F1 1.00"),),
        worst=(GalleryEntry(title="b.png", image=Image.fromarray(noise)),),
        environment={"torch": "2.15"},
    )


def test_the_page_stands_alone(tmp_path: Path) -> None:
    text = render_report(full(tmp_path))
    page = Page(text)
    assert len(page.addresses) == 5 * 2 + 2  # five figures in two themes, two drawings
    sizes = [image(address).size for address in page.addresses]
    assert (30, 20) in sizes
    assert (700, 600) in sizes
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert not re.search(r"(https?:)?//|@import|url\(", re.sub(r"base64,[^\"]*", "", text))


def test_the_page_says_what_it_was_told(tmp_path: Path) -> None:
    words = " ".join(Page(render_report(full(tmp_path))).words)
    for expected in (
        "run <1>",
        "FCOS & co",
        "motedet train demo --data ../data",
        "name: '<b>'",
        "Seed 7",
        "0.750",
        "the cap was hit",
        "F1 1.00",
        "2.15",
        "outside",
        "average precision, very tiny, 2 to 8 px",
    ):
        assert expected in words


def test_a_page_about_nothing() -> None:
    page = Page(render_report(ReportContext(name="empty")))
    assert page.addresses == []
    assert "h2" not in page.tags


@pytest.mark.parametrize("sizes", [[], [4.0]], ids=["no objects", "one object"])
def test_small_datasets(sizes: list[float]) -> None:
    split = SplitFacts(name="train", images=1, sizes=np.array(sizes))
    page = Page(render_report(ReportContext(name="small", splits=(split,))))
    assert len(page.addresses) == 2 * len(sizes)


def test_scores_alone_make_a_page() -> None:
    page = Page(render_report(ReportContext(name="scores", values=VALUES)))
    assert "Scores" in " ".join(page.words)


def test_notes_show_code_and_stay_text() -> None:
    notes = ("set `rate: zero` <b>", "no code")
    text = render_report(ReportContext(name="notes", notes=notes))
    assert "<li>set <code>rate: zero</code> &lt;b&gt;</li>" in text
    assert "<li>no code</li>" in text


def test_a_protocol_without_sizes_has_no_figure_of_them() -> None:
    with_sizes = Page(render_report(ReportContext(name="a", values=VALUES)))
    without = Page(render_report(ReportContext(name="b", values={"AP": 0.5, "AP50": 0.75})))
    assert (len(with_sizes.addresses), len(without.addresses)) == (2, 0)


def test_it_is_written_whole(tmp_path: Path) -> None:
    context = ReportContext(name="ünïcode 点")
    path = write_report(tmp_path / "run", context)
    assert path == tmp_path / "run" / "report.html"
    assert "ünïcode 点" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_large_drawings_are_shrunk_and_compressed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 4000, 3), dtype=np.uint8)
    address = embedded_image(Image.fromarray(noise))
    assert address.startswith("data:image/jpeg")
    assert image(address).size == (2000, 250)
    assert embedded_image(Image.new("L", (9, 9))).startswith("data:image/png")
