"""Reports show what customers and clients wrote as text: a browser and a terminal do nothing with it."""

from jobs.reports import aligned, listed, page, paragraph, table

HOSTILE = "<script>x()</script>\x1b[2J\u202e'\"&"
SHOWN = "&lt;script&gt;x()&lt;/script&gt;\\x1b[2J\\u202e&#x27;&quot;&amp;"


def test_a_page_escapes_every_text() -> None:
    parts = [paragraph(HOSTILE), listed(HOSTILE, [HOSTILE]), table(HOSTILE, [HOSTILE], [[HOSTILE, 1.5, None]])]
    whole = page(HOSTILE, HOSTILE, parts)

    assert 9 == whole.count(SHOWN)
    assert not set("\x1b\u202e") & set(whole)
    assert "<script" not in whole


def test_a_table_of_text_shows_a_line_for_a_row() -> None:
    assert ["id            n", "a\\nb\\x1b[31m  1"] == list(aligned([("id", "n"), ("a\nb\x1b[31m", "1")]))
