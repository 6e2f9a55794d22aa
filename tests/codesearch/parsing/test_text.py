from umekomi.codesearch.parsing.chunks import Chunk, ChunkKind
from umekomi.codesearch.parsing.text import MAX_PIECES, PIECE_CHARS, Recipe, piece_texts, split_identifiers


def function(code: str, doc: str = "") -> Chunk:
    return Chunk(ChunkKind.METHOD, "parseHTTPHeader", "WebServer", "def f()", doc, code, 1, 2)


def test_the_name_is_in_plain_words_before_docstring_and_code() -> None:
    assert piece_texts(function("return 1", "Reads it.")) == ["web server parse http header\nReads it.\nreturn 1"]


def test_what_is_left_out_by_the_recipe_is_not_in_the_text() -> None:
    assert piece_texts(function("return 1", "Reads it."), Recipe(name=False, doc=False)) == ["return 1"]


def test_a_long_body_is_several_pieces_each_with_the_name() -> None:
    line = "x = compute(x)\n"
    texts = piece_texts(function(line * 400))
    assert len(texts) == MAX_PIECES
    assert all(text.startswith("web server parse http header\n") for text in texts)
    assert all(len(text) < PIECE_CHARS * 1.5 for text in texts)


def test_no_text_is_empty() -> None:
    empty = Chunk(ChunkKind.MODULE, "", "", "", "", "", 1, 1)
    assert piece_texts(empty) == ["module"]


def test_identifiers_are_split_where_people_split_them() -> None:
    assert split_identifiers("get_user_name") == "get user name"
    assert split_identifiers("parseJSONFile") == "parse JSON File"
