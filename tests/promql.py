"""PromQL taken apart as far as a test needs it: which metrics, labels and values of labels a query names."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_WORDS = {"and", "or", "unless", "bool", "offset"}
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right) *\(([^)]*)\)")
_SELECTOR = re.compile(rf"({_NAME})\{{([^}}]*)\}}")
_MATCHER = re.compile(r'(\w+) *(=~|!~|!=|=) *"([^"]*)"')


class Matcher(NamedTuple):
    """`values` are the alternatives of a regular expression, or the one value."""

    label: str
    values: list[str]


class Selector(NamedTuple):
    """A metric as a query names it."""

    metric: str
    matchers: list[Matcher]


def selectors(query: str) -> Iterator[Selector]:
    """Every metric that a query names."""
    query = _GROUPING.sub(" ", query)
    for metric, matchers in _SELECTOR.findall(query):
        found = [
            Matcher(label, value.split("|") if "~" in operator else [value])
            for label, operator, value in _MATCHER.findall(matchers)
        ]
        yield Selector(metric, found)
    bare = re.sub(r'"[^"]*"|\[[^]]*\]|offset \w+', " ", _SELECTOR.sub(" ", query))
    for metric, called in re.findall(rf"(?<![\w:.])({_NAME})( *\()?", bare):
        if not called and metric not in _WORDS:
            yield Selector(metric, [])


def grouped(query: str) -> set[str]:
    """The labels that a query groups or matches by, and those that it makes."""
    named = {label.strip() for labels in _GROUPING.findall(query) for label in labels.split(",")}
    made = re.findall(r'label_replace\(.*?, *"(\w+)", *"[^"]*", *"\w*", *"[^"]*"\)', query, re.DOTALL)
    return (named | set(made)) - {""}
