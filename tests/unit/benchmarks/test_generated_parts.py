"""The pages in the repository are what the results say."""

from pathlib import Path

import pytest

from benchmarks.generated_parts import GeneratedPart, generated_parts
from benchmarks.results import load_all


def test_every_generated_part_of_a_page_is_what_the_stored_results_give() -> None:
    for part in generated_parts(load_all()):
        text = part.page.read_text(encoding="utf-8")

        assert 1 == text.count(part.begin)
        assert text == part.put_into(text)


def test_a_part_is_written_again_in_its_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for content in ("older", "newer"):
        part = GeneratedPart(page, "figures", content)
        if content == "older":
            page.write_text(f"before\n{part.begin}\n{part.end}\nafter\n")
        part.write()

    assert f"before\n{part.begin}\nnewer\n{part.end}\nafter\n" == page.read_text()


def test_a_page_without_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the markers"):
        GeneratedPart(Path("page.md"), "figures", "").put_into("no markers")
