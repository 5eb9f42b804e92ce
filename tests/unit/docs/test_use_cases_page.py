"""docs/use-cases.md has a row for each member of the object, and no other."""

import re
from dataclasses import fields

from tests.unit.docs.pages import text_of
from training.use_case import UseCase


def test_the_page_tells_of_each_member_of_a_use_case() -> None:
    _, _, section = text_of("docs/use-cases.md").partition("## The object, member by member")
    told = re.findall(r"^\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)

    assert sorted(field.name for field in fields(UseCase)) == sorted(told)
