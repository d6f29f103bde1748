from pathlib import Path

import pytest

from fake_data import write_image
from motedet.data.formats.line_files import Entry, Part, line_catalog, read_line_files


def _parse(line: str) -> Entry | None:
    """`name` at a fixed place; `region`, `nothing`, and two kinds of error."""
    if line == "nothing":
        return None
    if line == "bad":
        raise ValueError("expected x; found y.")
    if line == "strange":
        raise LookupError("no such class.")
    return Entry(None if line == "region" else line, (1.0, 2.0, 4.0, 6.0))


def test_no_files_make_an_empty_catalog(tmp_path: Path) -> None:
    files, problems = read_line_files([Part(tmp_path, tmp_path)], _parse)
    catalog = line_catalog(files, problems, classes=("a",), category_ids=(1,), source=tmp_path)
    assert (len(catalog), catalog.problems) == (0, ())


def test_lines_in_order_with_their_numbers(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png")
    text = "\ufeffa\r\n\r\nnothing\r\n region \r\nbad\r\nstrange\r\nb"
    (tmp_path / "x.txt").write_bytes(text.encode())
    files, problems = read_line_files([Part(tmp_path, tmp_path)], _parse)
    assert [(p.kind, p.message.split(":")[0]) for p in problems] == [
        ("bad entry", "line 5"),
        ("unknown category", "line 6"),
    ]
    catalog = line_catalog(files, problems, classes=("b",), category_ids=(4,), source=tmp_path)
    record = catalog.records[0]
    assert record.annotation_ids.tolist() == [2, 3]
    assert record.any_class.tolist() == [True, False]
    assert record.areas.tolist() == [12, 12]
    assert catalog.problems == problems


def test_bytes_that_are_no_text_make_a_bad_line(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png")
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00bad")

    def refuse(line: str) -> Entry:
        raise ValueError(f"found {line!r}.")

    _, problems = read_line_files([Part(tmp_path, tmp_path)], refuse)
    assert [problem.kind for problem in problems] == ["bad entry"]


@pytest.mark.parametrize("deep", [False, True], ids=["flat", "in a folder below"])
def test_numbers_go_on_over_parts(tmp_path: Path, deep: bool) -> None:
    parts = []
    for name in ("one", "two"):
        images = tmp_path / name / "images"
        write_image(images / ("deep" if deep else "") / "x.png")
        (tmp_path / name / "x.txt").write_text("a")
        parts.append(Part(images, tmp_path / name))
    files, _ = read_line_files(parts, _parse)
    assert [file.image_id for file in files] == [1, 2]
    assert [file.size for file in files] == [(48, 64)] * 2
