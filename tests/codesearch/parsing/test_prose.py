from umekomi.codesearch.parsing.prose import MAX_SECTION_LINES, parse_prose

MARKDOWN = """\
Before any heading.

# Tea
How to make tea.

```sh
# not a heading
```

## Green
Not too hot.

# Coffee
Grind it.
"""
RST = "Tea\n===\nHow to make tea.\n\nGreen\n-----\nNot too hot.\n"


def test_markdown_is_split_at_headings_but_not_in_code_blocks() -> None:
    sections = [(c.scope, c.name, c.start, c.end) for c in parse_prose(MARKDOWN)]
    assert sections == [("", "", 1, 2), ("", "Tea", 3, 9), ("Tea", "Green", 10, 12), ("", "Coffee", 13, 15)]
    assert "# not a heading" in parse_prose(MARKDOWN)[1].doc


def test_restructuredtext_is_split_at_underlined_headings() -> None:
    assert [(c.qualified, c.doc) for c in parse_prose(RST)] == [
        ("Tea", "How to make tea."),
        ("Tea.Green", "Not too hot."),
    ]


def test_a_long_section_is_split_at_empty_lines() -> None:
    text = "# Long\n" + "* one thing\n* another\n\n" * 60
    pieces = parse_prose(text)
    assert {c.name for c in pieces} == {"Long"}
    assert all(c.end - c.start <= MAX_SECTION_LINES + 1 for c in pieces)
    assert sum(c.doc.count("another") for c in pieces) == 60
