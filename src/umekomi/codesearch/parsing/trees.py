"""Other languages by their tree-sitter grammars: functions, methods and classes with their comments and scopes."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from ...extras import import_optional
from .chunks import Chunk, ChunkKind, windows
from .languages import GRAMMARS, Language

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Query

# Nodes around a definition that belong to it: `export`, `template <…>`, `const … =`.
_WRAPPERS = {
    "template_declaration", "export_statement", "lexical_declaration", "variable_declaration", "expression_statement",
    "implementation_definition", "type_declaration", "statement", "field_declaration", "variable_declarator_list",
}  # fmt: skip
_BODIES = {
    "compound_statement", "block", "function_body", "class_body", "script_block", "template_body", "body_statement",
    "declaration_list", "field_declaration_list", "enum_class_body", "statement_block",
}  # fmt: skip
_NAMES = {
    "identifier", "simple_identifier", "type_identifier", "field_identifier", "property_identifier", "namespace_identifier",
    "simple_name", "function_name", "word", "constant", "name", "variable", "object_reference", "qualified_identifier",
    "destructor_name", "operator_name", "bareword", "dot_index_expression", "member_expression",
}  # fmt: skip
_NO_NAMES = ("type_", "method_type", "modifiers")
# Scopes whose functions are methods; in a namespace they are functions still.
_IMPLEMENTATIONS = {"impl_item", "class_implementation", "companion_object"}
_BETWEEN = {"attribute_item", "annotation", "marker_annotation", "attribute_list"}
_MARKS = re.compile(r"^\s*(?:/\*+!?|\*+/|\*(?!\*)|//+!?|--+\s?\|?|#+|\{-\s?\|?|-\})|\s*(?:\*+/|-\})\s*$|</?summary>")
_IMPORTS = re.compile(
    r"^\s*(?:#\s*include|import\b|from\b|using\b|package\b|use\b|require|module\b|export\s+\*|[{}()\[\];,]*\s*$)"
)


MAX_DEPTH = 100
"""Definitions in definitions. Each contains the text of those inside of it, so the size of all grows with the depth."""

MAX_BRACKETS = 500
"""Brackets in brackets. The parsers' time is quadratic in the depth: 100,000 open brackets take half a minute."""

_LONGEST_LINE = 300
"""Characters of a line to which the patterns here are applied, because their time is quadratic in runs of spaces."""


@dataclass(slots=True)
class _Definition:
    node: Node
    kind: ChunkKind
    name: str
    scope: list[str]
    doc: str
    first: int
    start: int
    end: int
    signature: str
    inner: list[_Definition] = field(default_factory=list)


def parse_tree(text: str, language: str) -> list[Chunk]:
    """The chunks of a file in a language of ``GRAMMARS``, in the order of the file.

    Where the grammar does not understand all of it, what it does understand is cut by it, and the rest goes by windows.

    Raises:
        SyntaxError: The grammar finds no definition in it, and errors; or definitions are nested too deeply.
        MissingExtraError: the grammar is not installed.
    """
    if _nesting(text) > MAX_BRACKETS:
        raise SyntaxError(f"brackets are nested more than {MAX_BRACKETS} deep")
    row = GRAMMARS[language]
    parser, query = _grammar(row.name)
    data = text.encode("utf-8", "replace")
    root = parser.parse(data).root_node
    lines = [line.decode("utf-8", "replace") for line in data.split(b"\n")]
    found = _definitions(root, row, query, lines)
    if root.has_error and not found:
        raise SyntaxError(f"not {language}")
    chunks = [_chunk(one, lines) for one in found]
    return sorted([*chunks, *_rest(found, lines, broken=root.has_error)], key=lambda chunk: chunk.start)


def _nesting(text: str) -> int:
    """Return how deeply brackets are nested, also where they are not closed. Those in strings and comments count."""
    depth = deepest = 0
    for bracket in re.findall(r"[(\[{)\]}]", text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


@cache
def _grammar(name: str) -> tuple[Parser, Query]:
    row = GRAMMARS[name]
    tree_sitter = import_optional("tree_sitter", f"Reading {name}")
    module = import_optional(row.module, f"Reading {name}")
    with warnings.catch_warnings():
        # Perl's wheel gives its grammar as a number still, which the library takes but does not like.
        warnings.simplefilter("ignore", DeprecationWarning)
        language = tree_sitter.Language(getattr(module, row.entry)())
    wanted = [*((kind, "function") for kind in row.functions), *((kind, "class") for kind in row.classes)]
    wanted += [*((kind, "scope") for kind in row.scopes), *((kind, "value") for kind in row.values)]
    pattern = "\n".join(f"({kind}) @{capture}" for kind, capture in wanted)
    return tree_sitter.Parser(language), tree_sitter.Query(language, pattern)


def _definitions(root: Node, row: Language, query: Query, lines: list[str]) -> list[_Definition]:
    captures = importlib.import_module("tree_sitter").QueryCursor(query).captures(root)
    nodes = [(node, capture) for capture, many in captures.items() for node in many]
    nodes.sort(key=lambda pair: (pair[0].start_byte, -pair[0].end_byte))
    found: list[_Definition] = []
    # What the walk is inside of: the end of each, its scope, and whether it is a class.
    open_: list[tuple[int, list[str], bool, _Definition | None]] = []
    for node, capture in nodes:
        while open_ and node.start_byte >= open_[-1][0]:
            open_.pop()
        if len(open_) >= MAX_DEPTH:
            raise SyntaxError(f"definitions are nested more than {MAX_DEPTH} deep")
        scope, in_class, outer = (open_[-1][1], open_[-1][2], open_[-1][3]) if open_ else ([], False, None)
        if outer is not None and outer.node.type == "method_signature":
            continue
        if capture == "value" and not _is_value(node, row):
            continue
        if capture == "class" and node.type.endswith("_specifier") and node.child_by_field_name("body") is None:
            continue
        if node.type == "type_definition" and not _holds_body(node):
            continue
        names = _name(node, row)
        if not names:
            continue
        if capture == "scope":
            open_.append((node.end_byte, [*scope, *names], node.type in _IMPLEMENTATIONS, None))
            continue
        one = _define(node, capture, [*scope, *_receiver(node), *names[:-1]], names[-1], lines, in_class=in_class)
        if _joins(row, found, one):
            found[-1].end = one.end
        elif not (found and found[-1].start == one.start and found[-1].name == one.name):
            found.append(one)
            if outer is not None:
                outer.inner.append(one)
        open_.append((node.end_byte, [*one.scope, one.name], one.kind is ChunkKind.CLASS, one))
    return found


def _joins(row: Language, found: list[_Definition], one: _Definition) -> bool:
    if not row.joined or not found:
        return False
    before = found[-1]
    return before.name == one.name and before.scope == one.scope and before.end + 1 >= one.first


def _is_value(node: Node, row: Language) -> bool:
    named = node.named_children
    if not named:
        return False
    if row.name == "julia":
        return named[0].type in row.values[node.type]
    last = named[-1]
    if last.type == "expression_list" and last.named_children:
        last = last.named_children[0]
    return last.type in row.values[node.type]


def _holds_body(node: Node) -> bool:
    return any(child.child_by_field_name("body") is not None for child in node.named_children)


def _name(node: Node, row: Language) -> list[str]:
    """The name of a definition, with the scopes that it is written with (``Item::weight``), outermost first."""
    if node.type == "init_declaration":
        return ["init"]
    if node.type == "secondary_constructor":
        return ["constructor"]
    if node.type == "companion_object":
        return ["Companion"]
    named = node.child_by_field_name("type") if node.type == "impl_item" else node.child_by_field_name("name")
    if node.type == "method_signature" and node.named_children:  # Dart keeps the name one deeper; TypeScript does not
        named = named or node.named_children[-1].child_by_field_name("name")
    if named is None and row.joined:
        return []
    if named is None:
        named = node.child_by_field_name("left") or node.child_by_field_name("key")
    if named is None:
        named = node.child_by_field_name("declarator")
        while named is not None and (inner := named.child_by_field_name("declarator")) is not None:
            named = inner
        if named is not None and named.type not in _NAMES and named.named_children:
            named = next((child for child in named.named_children if child.type in _NAMES), named)
    if named is None:
        named = _first_name(node)
    if named is None or named.text is None:
        return []
    text = re.sub(r"<.*|\(.*", "", named.text.decode("utf-8", "replace"), flags=re.DOTALL).strip().strip("'\"`")
    parts = [part.strip() for part in re.split(r"::|[.:]", text)]
    return parts if all(parts) else [text] if text else []


def _first_name(node: Node) -> Node | None:
    """The first name in it, where the grammar does not say which it is."""
    waiting = list(reversed(node.named_children))
    while waiting:
        node = waiting.pop()
        if node.type in _NAMES:
            return node
        if node.type == "type_head" or (node.type not in _BODIES and not node.type.startswith(_NO_NAMES)):
            waiting.extend(reversed(node.named_children))
    return None


def _receiver(node: Node) -> list[str]:
    """The type that a method of Go belongs to."""
    receiver = node.child_by_field_name("receiver")
    if node.type != "method_declaration" or receiver is None or receiver.text is None:
        return []
    words = re.findall(r"\w+", re.sub(r"\[.*", "", receiver.text.decode("utf-8", "replace")))
    return words[-1:]


def _define(node: Node, capture: str, scope: list[str], name: str, lines: list[str], *, in_class: bool) -> _Definition:
    outer = node
    while outer.parent is not None and outer.parent.type in _WRAPPERS:
        outer = outer.parent
    method = in_class or node.type.startswith("method_") or bool(_receiver(node))
    kind = ChunkKind.CLASS if capture == "class" else ChunkKind.METHOD if method else ChunkKind.FUNCTION
    last = outer
    after = outer.next_sibling
    if node.type in ("method_signature", "function_signature") and after is not None and after.type == "function_body":
        last = after
    doc, first = _doc_above(outer, lines)
    end = last.end_point.row + (last.end_point.column > 0)
    start = outer.start_point.row + 1
    return _Definition(node, kind, name, scope, doc, first, start, max(end, start), _signature(outer, node))


def _signature(outer: Node, node: Node) -> str:
    """From its first word to its body, on one line."""
    body = _body(node)
    text = (outer.text or b"").decode("utf-8", "replace")
    if body is not None and body.start_byte > outer.start_byte:
        text = (outer.text or b"")[: body.start_byte - outer.start_byte].decode("utf-8", "replace")
    elif node.type not in ("method_signature", "function_signature"):
        text = text.split("\n", 1)[0]
    head = re.split(r"\n\s*(?:#|//)", text[:2000], maxsplit=1)[0]
    return re.sub(r"\s*(?:\{|=>|=)$", "", " ".join(head.split()))[:300]


def _body(node: Node, depth: int = 0) -> Node | None:
    body = node.child_by_field_name("body")
    if body is not None:
        return body
    for child in node.named_children:
        if child.type in _BODIES:
            return child
        if depth < 2 and (found := _body(child, depth + 1)) is not None:
            return found
    return None


def _doc_above(node: Node, lines: list[str]) -> tuple[str, int]:
    """The comment right above a definition, and the first line of what belongs to the definition."""
    first = node.start_point.row + 1
    pieces: list[str] = []
    above = _before(node)
    top = node.start_point.row
    while above is not None:
        last = above.end_point.row - (above.end_point.column == 0)
        if top - last > 1 or (
            lines[above.start_point.row][: above.start_point.column].strip() and above.type != "haddock"
        ):
            break
        if above.type in _BETWEEN:
            first = above.start_point.row + 1
        elif "comment" in above.type or above.type in ("haddock", "string_literal"):
            pieces.append((above.text or b"").decode("utf-8", "replace"))
        else:
            break
        top = above.start_point.row
        above = above.prev_sibling
    if pieces and pieces[-1].startswith("#!"):
        pieces.pop()
    text = "\n".join(reversed(pieces))
    return clean_comment(text), first


def _before(node: Node) -> Node | None:
    """What stands before a node, be it in the node around it."""
    while node.prev_sibling is None and node.parent is not None and node.parent.parent is not None:
        if node.parent.start_byte != node.start_byte and node.parent.type != "declarations":
            return None
        node = node.parent
    return node.prev_sibling


def clean_comment(text: str) -> str:
    """A comment without its marks.

    >>> clean_comment("/** Adds.\\n  * Quickly. */")
    'Adds.\\nQuickly.'
    """
    lines = (line.strip()[:_LONGEST_LINE] for line in text.strip().strip('"').splitlines())
    cleaned = (_MARKS.sub("", _MARKS.sub("", line)).strip() for line in lines)
    return "\n".join(cleaned).strip()


def _chunk(one: _Definition, lines: list[str]) -> Chunk:
    skipped = {
        line for inner in one.inner for line in range(inner.start + 1, inner.end + 1)
    } if one.kind is ChunkKind.CLASS else set()  # fmt: skip
    kept = [lines[number - 1] for number in range(one.first, min(one.end, len(lines)) + 1) if number not in skipped]
    code = _dedent(kept)
    return Chunk(one.kind, one.name, ".".join(one.scope), one.signature, one.doc, code, one.start, one.end)


def _dedent(lines: list[str]) -> str:
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    margin = min(margin, len(lines[0]) - len(lines[0].lstrip())) if lines else 0
    return "\n".join(line[margin:] for line in lines).strip("\n")


def _rest(found: list[_Definition], lines: list[str], *, broken: bool) -> Iterator[Chunk]:
    """What stands outside every definition: one chunk; by windows where the grammar did not understand it."""
    covered = {line for one in found for line in range(one.first - one.doc.count("\n") - bool(one.doc), one.end + 1)}
    runs: list[list[int]] = []
    for number, line in enumerate(lines, start=1):
        if number in covered or (not broken and _IMPORTS.match(line.strip()[:_LONGEST_LINE])):
            continue
        if broken and runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        elif broken or not runs:
            runs.append([number])
        else:
            runs[-1].append(number)
    for run in runs:
        code = "\n".join(lines[number - 1] for number in run)
        if sum(map(str.isalnum, code)) < 20:
            continue
        if broken:
            offset = run[0] - 1
            yield from (replace(piece, start=piece.start + offset, end=piece.end + offset) for piece in windows(code))
        else:
            head = next(line.strip() for line in code.splitlines() if line.strip())
            yield Chunk(ChunkKind.MODULE, "", "", head[:120], "", code.strip("\n"), run[0], run[-1])
