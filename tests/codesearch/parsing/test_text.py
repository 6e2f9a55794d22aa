from umekomi.codesearch.parsing.chunks import Chunk, ChunkType
from umekomi.codesearch.parsing.text import MAX_PIECES, PIECE_CHARS, TextOptions, format_pieces, split_identifiers


def function(code: str, doc: str = "") -> Chunk:
    return Chunk(ChunkType.METHOD, "parseHTTPHeader", "WebServer", "def f()", doc, code, 1, 2)


def test_the_name_in_words_precedes_docstring_and_code() -> None:
    assert format_pieces(function("return 1", "Reads it.")) == ["web server parse http header\nReads it.\nreturn 1"]


def test_options_exclude_name_and_docstring() -> None:
    assert format_pieces(function("return 1", "Reads it."), TextOptions(name=False, doc=False)) == ["return 1"]


def test_a_long_body_becomes_several_pieces_with_the_name() -> None:
    line = "x = compute(x)\n"
    texts = format_pieces(function(line * 400))
    assert len(texts) == MAX_PIECES
    assert all(text.startswith("web server parse http header\n") for text in texts)
    assert all(len(text) < PIECE_CHARS * 1.5 for text in texts)


def test_no_text_is_empty() -> None:
    empty = Chunk(ChunkType.MODULE, "", "", "", "", "", 1, 1)
    assert format_pieces(empty) == ["module"]


def test_identifiers_are_split_into_words() -> None:
    assert split_identifiers("get_user_name") == "get user name"
    assert split_identifiers("parseJSONFile") == "parse JSON File"
