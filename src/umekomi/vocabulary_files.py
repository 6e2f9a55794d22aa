"""Read the files of OpenAI's vocabularies.

tiktoken's readers are not used, because they cache a copy in the temporary folder and do not check its hash.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import tiktoken

from .errors import AssetCorruptError

# The regular expressions of the vocabularies, which split a text into pieces before byte pairs are merged.
_GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
_CL100K_PATTERN = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
    r"""|\s+(?!\S)|\s"""
)
_CL100K_SPECIAL = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}


def read_cl100k(files: dict[str, Path]) -> tiktoken.Encoding:
    """Read the file ``ranks`` of cl100k_base."""
    rows = (line.split() for line in files["ranks"].read_bytes().splitlines() if line)
    return tiktoken.Encoding(
        "cl100k_base",
        pat_str=_CL100K_PATTERN,
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in rows},
        special_tokens=_CL100K_SPECIAL,
    )


def read_gpt2(files: dict[str, Path]) -> tiktoken.Encoding:
    """Read the files ``merges`` and ``vocabulary`` of GPT-2.

    They write a byte as itself if it is printable, otherwise as a character from U+0100.

    Raises:
        AssetCorruptError: The files do not match.
    """
    order = [byte for byte in range(256) if chr(byte).isprintable() and byte != 0x20]
    others = [byte for byte in range(256) if byte not in order]
    letters = {chr(byte): byte for byte in order} | {chr(256 + boundary): byte for boundary, byte in enumerate(others)}

    def to_bytes(written: str) -> bytes:
        return bytes(letters[letter] for letter in written)

    tokens = [bytes([byte]) for byte in (*order, *others)]
    # The first line is a comment.
    for line in files["merges"].read_text("utf-8").split("\n")[1:-1]:
        left, right = line.split()
        tokens.append(to_bytes(left) + to_bytes(right))
    ranks = {token: rank for rank, token in enumerate(tokens)}
    vocabulary: dict[str, int] = json.loads(files["vocabulary"].read_text("utf-8"))
    end_of_text = vocabulary.pop("<|endoftext|>")
    if ranks != {to_bytes(written): rank for written, rank in vocabulary.items()}:
        raise AssetCorruptError("GPT-2's merges and its vocabulary do not match. Run `umekomi models verify`.")
    return tiktoken.Encoding(
        "gpt2",
        explicit_n_vocab=50257,
        pat_str=_GPT2_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": end_of_text},
    )
