"""Tests for templates, which combine columns into the embedded text."""

import pytest

from umekomi.data.templates import Template, resolve_template
from umekomi.errors import RecordError


def test_a_template_is_filled_from_columns() -> None:
    template = Template("T: {a}; {{{b}}}")
    assert template.fill({"a": "x", "b": None}) == "T: x; {}"
    assert template.columns == ["a", "b"]


@pytest.mark.parametrize("pattern", ["{a", "no column", "{a.__class__}", "{a[0]}"])
def test_a_template_reads_columns_and_nothing_else(pattern: str) -> None:
    with pytest.raises(RecordError):
        resolve_template(["a"], pattern)


def test_without_a_template_the_column_text_is_used() -> None:
    assert resolve_template(["id", "text"], None).fill({"text": "x"}) == "x"
    with pytest.raises(RecordError, match="There is no column 'text'; the columns are id, body"):
        resolve_template(["id", "body"], None)
