"""Splitting of files with a tree-sitter grammar into functions, methods and classes with their comments and scopes."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from ...extras import import_optional
from .chunks import Chunk, ChunkType, split_into_windows
from .languages import GRAMMARS, Language

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Query

# Outer nodes that belong to a definition: `export`, `template <…>`, `const … =`.
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
_SIGNATURES = ("method_signature", "function_signature")
_NO_NAMES = ("type_", "method_type", "modifiers")
# Scopes whose functions are methods. In a namespace, they remain functions.
_IMPLEMENTATIONS = {"impl_item", "class_implementation", "companion_object"}
_BETWEEN = {"attribute_item", "annotation", "marker_annotation", "attribute_list"}
_MARKS = re.compile(r"^\s*(?:/\*+!?|\*+/|\*(?!\*)|//+!?|--+\s?\|?|#+|\{-\s?\|?|-\})|\s*(?:\*+/|-\})\s*$|</?summary>")
_IMPORTS = re.compile(
    r"^\s*(?:#\s*include|import\b|from\b|using\b|package\b|use\b|require|module\b|export\s+\*|[{}()\[\];,]*\s*$)"
)


MAX_DEPTH = 100
"""Maximum nesting depth of definitions. Each contains the text of the inner ones, so the total size grows with the depth."""

MAX_BRACKETS = 500
"""Maximum nesting depth of brackets. Parsing time is quadratic in it: 100,000 open brackets take half a minute."""

_MAX_LINE_CHARS = 300
"""Patterns only see this many characters of a line, because their time is quadratic in the length of runs of spaces."""


@dataclass(slots=True)
class _Definition:
    node: Node
    type: ChunkType
    name: str
    scope: list[str]
    doc: str
    #: First line of the definition with its attributes, from 1.
    first: int
    #: Line of the signature.
    start: int
    end: int
    signature: str
    #: Definitions directly inside this one.
    inner: list[_Definition] = field(default_factory=list)


def parse_tree(text: str, language: str) -> list[Chunk]:
    """Return the chunks of a file in the order of the file.

    If the grammar can parse only a part of the file, the rest is split into windows.

    Args:
        text: Text of the file.
        language: A language of ``GRAMMARS``.

    Raises:
        SyntaxError: The parser reports errors and finds no definition, or definitions are nested too deeply.
        MissingExtraError: The grammar is not installed.
    """
    if _nesting(text) > MAX_BRACKETS:
        raise SyntaxError(f"brackets are nested more than {MAX_BRACKETS} deep")
    parser, query = _load_grammar(language)
    data = text.encode("utf-8", "replace")
    root = parser.parse(data).root_node
    lines = [line.decode("utf-8", "replace") for line in data.split(b"\n")]
    definitions = _find_definitions(root, GRAMMARS[language], query, lines)
    if root.has_error and not definitions:
        raise SyntaxError(f"not {language}")
    chunks = [_make_chunk(definition, lines) for definition in definitions]
    return sorted([*chunks, *_rest(definitions, lines, has_error=root.has_error)], key=lambda chunk: chunk.start)


def _nesting(text: str) -> int:
    """Return the nesting depth of brackets, including unclosed ones and those in strings and comments."""
    depth = deepest = 0
    for bracket in re.findall(r"[(\[{)\]}]", text):
        depth = depth + 1 if bracket in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


@cache
def _load_grammar(name: str) -> tuple[Parser, Query]:
    spec = GRAMMARS[name]
    tree_sitter = import_optional("tree_sitter", f"Reading {name}")
    module = import_optional(spec.module, f"Reading {name}")
    with warnings.catch_warnings():
        # Perl's wheel returns its grammar as an integer, which is deprecated but works.
        warnings.simplefilter("ignore", DeprecationWarning)
        language = tree_sitter.Language(getattr(module, spec.entry)())
    captures = {"function": spec.functions, "class": spec.classes, "scope": spec.scopes, "value": spec.values}
    pattern = "\n".join(f"({node_type}) @{capture}" for capture, types in captures.items() for node_type in types)
    return tree_sitter.Parser(language), tree_sitter.Query(language, pattern)


def _find_definitions(root: Node, spec: Language, query: Query, lines: list[str]) -> list[_Definition]:
    captures = importlib.import_module("tree_sitter").QueryCursor(query).captures(root)
    nodes = [(node, capture) for capture, captured in captures.items() for node in captured]
    nodes.sort(key=lambda pair: (pair[0].start_byte, -pair[0].end_byte))
    definitions: list[_Definition] = []
    # Enclosing definitions and scopes: end, scope, whether it is a class, and the definition.
    enclosing: list[tuple[int, list[str], bool, _Definition | None]] = []
    for node, capture in nodes:
        while enclosing and node.start_byte >= enclosing[-1][0]:
            enclosing.pop()
        if len(enclosing) >= MAX_DEPTH:
            raise SyntaxError(f"definitions are nested more than {MAX_DEPTH} deep")
        scope, in_class, outer = (
            (enclosing[-1][1], enclosing[-1][2], enclosing[-1][3]) if enclosing else ([], False, None)
        )
        if outer is not None and outer.node.type == "method_signature":
            continue
        if capture == "value" and not _is_value(node, spec):
            continue
        if capture == "class" and node.type.endswith("_specifier") and node.child_by_field_name("body") is None:
            continue
        if node.type == "type_definition" and not _has_inner_body(node):
            continue
        names = _find_names(node, spec)
        if not names:
            continue
        if capture == "scope":
            enclosing.append((node.end_byte, [*scope, *names], node.type in _IMPLEMENTATIONS, None))
            continue
        definition = _define(
            node, capture, [*scope, *_receiver(node), *names[:-1]], names[-1], lines, in_class=in_class
        )
        previous = definitions[-1] if definitions else None
        if previous is not None and spec.merges_adjacent and _is_adjacent(previous, definition):
            previous.end = definition.end
        elif previous is None or (previous.start, previous.name) != (definition.start, definition.name):
            definitions.append(definition)
            if outer is not None:
                outer.inner.append(definition)
        enclosing.append(
            (node.end_byte, [*definition.scope, definition.name], definition.type is ChunkType.CLASS, definition)
        )
    return definitions


def _is_adjacent(previous: _Definition, definition: _Definition) -> bool:
    is_same = (previous.name, previous.scope) == (definition.name, definition.scope)
    return is_same and previous.end + 1 >= definition.first


def _is_value(node: Node, spec: Language) -> bool:
    """Return whether a node assigns a function to a name."""
    children = node.named_children
    if not children:
        return False
    if spec.name == "julia":
        return children[0].type in spec.values[node.type]
    last = children[-1]
    if last.type == "expression_list" and last.named_children:
        last = last.named_children[0]
    return last.type in spec.values[node.type]


def _has_inner_body(node: Node) -> bool:
    return any(child.child_by_field_name("body") is not None for child in node.named_children)


def _find_names(node: Node, spec: Language) -> list[str]:
    """Return the name of a definition, preceded by the scopes in the name (``Item::weight``), outermost first."""
    if node.type == "init_declaration":
        return ["init"]
    if node.type == "secondary_constructor":
        return ["constructor"]
    if node.type == "companion_object":
        return ["Companion"]
    named = node.child_by_field_name("type") if node.type == "impl_item" else node.child_by_field_name("name")
    if (
        node.type == "method_signature" and node.named_children
    ):  # In Dart, the name is one level deeper than in TypeScript.
        named = named or node.named_children[-1].child_by_field_name("name")
    if named is None and spec.merges_adjacent:
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
    """Return the first name in a definition, for grammars without a field for it."""
    stack = list(reversed(node.named_children))
    while stack:
        node = stack.pop()
        if node.type in _NAMES:
            return node
        if node.type == "type_head" or (node.type not in _BODIES and not node.type.startswith(_NO_NAMES)):
            stack.extend(reversed(node.named_children))
    return None


def _receiver(node: Node) -> list[str]:
    """Return the type to which a method in Go belongs."""
    receiver = node.child_by_field_name("receiver")
    if node.type != "method_declaration" or receiver is None or receiver.text is None:
        return []
    words = re.findall(r"\w+", re.sub(r"\[.*", "", receiver.text.decode("utf-8", "replace")))
    return words[-1:]


def _define(node: Node, capture: str, scope: list[str], name: str, lines: list[str], *, in_class: bool) -> _Definition:
    outer = node
    while outer.parent is not None and outer.parent.type in _WRAPPERS:
        outer = outer.parent
    is_method = in_class or node.type.startswith("method_") or bool(_receiver(node))
    function_type = ChunkType.METHOD if is_method else ChunkType.FUNCTION
    chunk_type = ChunkType.CLASS if capture == "class" else function_type
    last = outer
    sibling = outer.next_sibling
    if node.type in _SIGNATURES and sibling is not None and sibling.type == "function_body":
        last = sibling
    doc, first = _doc_above(outer, lines)
    end = last.end_point.row + (last.end_point.column > 0)
    start = outer.start_point.row + 1
    return _Definition(node, chunk_type, name, scope, doc, first, start, max(end, start), _signature(outer, node))


def _signature(outer: Node, node: Node) -> str:
    """Return the text from the start of a definition to its body, on one line."""
    body = _body(node)
    text = (outer.text or b"").decode("utf-8", "replace")
    if body is not None and body.start_byte > outer.start_byte:
        text = (outer.text or b"")[: body.start_byte - outer.start_byte].decode("utf-8", "replace")
    elif node.type not in _SIGNATURES:
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
        if depth < 2 and (inner := _body(child, depth + 1)) is not None:
            return inner
    return None


def _doc_above(node: Node, lines: list[str]) -> tuple[str, int]:
    """Return the comment directly above a definition, and the first line of the definition with its attributes."""
    first = node.start_point.row + 1
    pieces: list[str] = []
    above = _previous(node)
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


def _previous(node: Node) -> Node | None:
    """Return the node before a node, which may be in an outer node."""
    while node.prev_sibling is None and node.parent is not None and node.parent.parent is not None:
        if node.parent.start_byte != node.start_byte and node.parent.type != "declarations":
            return None
        node = node.parent
    return node.prev_sibling


def clean_comment(text: str) -> str:
    """Return a comment without its markers.

    >>> clean_comment("/** Adds.\\n  * Quickly. */")
    'Adds.\\nQuickly.'
    """
    lines = (line.strip()[:_MAX_LINE_CHARS] for line in text.strip().strip('"').splitlines())
    cleaned = (_MARKS.sub("", _MARKS.sub("", line)).strip() for line in lines)
    return "\n".join(cleaned).strip()


def _make_chunk(definition: _Definition, lines: list[str]) -> Chunk:
    # The bodies of methods are not part of the class, because they are separate chunks.
    inner = definition.inner if definition.type is ChunkType.CLASS else []
    skipped = {line for method in inner for line in range(method.start + 1, method.end + 1)}
    numbers = range(definition.first, min(definition.end, len(lines)) + 1)
    return Chunk(
        definition.type,
        definition.name,
        ".".join(definition.scope),
        definition.signature,
        definition.doc,
        _dedent([lines[number - 1] for number in numbers if number not in skipped]),
        definition.start,
        definition.end,
    )


def _dedent(lines: list[str]) -> str:
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    margin = min(margin, len(lines[0]) - len(lines[0].lstrip())) if lines else 0
    return "\n".join(line[margin:] for line in lines).strip("\n")


def _rest(definitions: list[_Definition], lines: list[str], *, has_error: bool) -> Iterator[Chunk]:
    """Yield the code outside all definitions: as one chunk, or as windows if the file could not be parsed completely."""
    covered: set[int] = set()
    for definition in definitions:
        doc_lines = definition.doc.count("\n") + bool(definition.doc)
        covered.update(range(definition.first - doc_lines, definition.end + 1))
    runs: list[list[int]] = []
    for number, line in enumerate(lines, start=1):
        if number in covered or (not has_error and _IMPORTS.match(line.strip()[:_MAX_LINE_CHARS])):
            continue
        if has_error and runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        elif has_error or not runs:
            runs.append([number])
        else:
            runs[-1].append(number)
    for run in runs:
        code = "\n".join(lines[number - 1] for number in run)
        if sum(map(str.isalnum, code)) < 20:
            continue
        if has_error:
            offset = run[0] - 1
            yield from (
                replace(piece, start=piece.start + offset, end=piece.end + offset) for piece in split_into_windows(code)
            )
        else:
            head = next(line.strip() for line in code.splitlines() if line.strip())
            yield Chunk(ChunkType.MODULE, "", "", head[:120], "", code.strip("\n"), run[0], run[-1])
