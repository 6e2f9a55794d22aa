"""Tiny tokenizers of transformers' classes, and changes of their ``tokenizer.json`` and ``tokenizer_config.json``."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from .folders import edit

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,'`é東"
MERGES = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "f"), ("Ġ", "f"), ("q", "u")]
TEXTS = ["The quick  fox ", "Café don't\tthe ``fox'' 東京", "a[MASK] <mask>b </s>  ▁fox new Word"]
ROBERTA, BERT = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

CLASSES: Mapping[str, tuple[str, str, list[str]]] = {
    "AlbertTokenizer": ("albert", "Unigram", ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]),
    "BertTokenizer": ("bert", "WordPiece", BERT),
    "CamembertTokenizer": ("camembert", "Unigram", ROBERTA),
    "DebertaV2Tokenizer": ("deberta-v2", "Unigram", BERT),
    "DistilBertTokenizer": ("distilbert", "WordPiece", BERT),
    "GemmaTokenizer": ("gemma3_text", "BPE", ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]),
    "LlamaTokenizer": ("llama", "BPE", ["<unk>", "<s>", "</s>"]),
    "MPNetTokenizer": ("mpnet", "WordPiece", ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]),
    "PreTrainedTokenizerFast": ("modernbert", "WordPiece", BERT),
    "Qwen2Tokenizer": ("qwen3", "BPE", ["<|endoftext|>"]),
    "RobertaTokenizer": ("roberta", "BPE", ROBERTA),
    "T5Tokenizer": ("t5", "Unigram", ["<pad>", "</s>", "<unk>"]),
    "XLMRobertaTokenizer": ("xlm-roberta", "Unigram", ROBERTA),
}
"""The model type, the type of vocabulary and the special tokens of each class."""


def _change_file(folder: Path, **changes: Any) -> None:
    edit(folder / "tokenizer.json", **changes)


def _change_settings(folder: Path, **changes: Any) -> None:
    edit(folder / "tokenizer_config.json", **changes)


def _add_token(folder: Path, *, declared: bool) -> None:
    """Add a token to ``tokenizer.json``, and to ``tokenizer_config.json`` only if it is ``declared`` there."""
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    flags = {"single_word": False, "lstrip": False, "rstrip": True, "normalized": False, "special": False}
    tokens = [*content["added_tokens"], {"id": len(content["model"]["vocab"]), "content": "new", **flags}]
    edit(folder / "tokenizer.json", added_tokens=tokens)
    known = tokens if declared else tokens[:-1]
    decoder = {str(token["id"]): {key: token[key] for key in ("content", *flags)} for token in known}
    edit(folder / "tokenizer_config.json", added_tokens_decoder=decoder)


CHANGES: Mapping[str, Callable[[Path], None]] = {
    "none": lambda folder: None,
    "no class": partial(_change_settings, tokenizer_class=None),
    "lower case in tokenizer.json": partial(_change_file, normalizer={"type": "Lowercase"}),
    "one space in tokenizer.json": partial(
        _change_file, normalizer={"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    ),
    "words in tokenizer.json": partial(_change_file, pre_tokenizer={"type": "Whitespace"}),
    "no special tokens in tokenizer.json": partial(_change_file, post_processor=None),
    "truncation": partial(
        _change_file, truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    ),
    "no added tokens": partial(_change_file, added_tokens=[]),
    "added token": partial(_add_token, declared=True),
    "case": partial(_change_settings, do_lower_case=False),
    "prefix space": partial(_change_settings, add_prefix_space=True),
    "no prefix space": partial(_change_settings, add_prefix_space=False),
    "accents": partial(_change_settings, strip_accents=True, keep_accents=True),
    "punctuation": partial(_change_settings, split_by_punct=True),
    "legacy": partial(_change_settings, legacy=True),
    "special tokens as text": partial(_change_settings, split_special_tokens=True),
    "token with space": partial(
        _change_settings, mask_token={"__type": "AddedToken", "content": "F", "lstrip": True, "special": True}
    ),
    "other special token": partial(_change_settings, extra_special_tokens=["fox"]),
}


def add_undeclared_token(folder: Path) -> None:
    """Add a token that a class of transformers does not read."""
    _add_token(folder, declared=False)


def make_tokenizer(folder: Path, name: str, change: str) -> Path:
    """Write the tokenizer of a class in a folder with a ``config.json``, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model_type, kind, special = CLASSES[name]
    tokenizer = Tokenizer(_make_model(kind, special))
    tokenizer.add_special_tokens(special)
    if kind == "BPE" and name in ("Qwen2Tokenizer", "RobertaTokenizer"):
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    elif kind == "WordPiece":
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {special[0]}", pair=f"$A $B {special[0]}", special_tokens=[(special[0], 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    edit(folder / "config.json", model_type=model_type)
    edit(folder / "tokenizer_config.json", tokenizer_class=name)
    CHANGES[change](folder)
    return folder


def _make_model(kind: str, special: list[str]) -> models.Model:
    if kind == "WordPiece":
        words = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), "the", "fox", "##ick"]
        return models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]")
    if kind == "Unigram":
        pieces = [*((token, 0.0) for token in special), *((letter, -5.0) for letter in f"▁{LETTERS}"), ("▁fox", -2.0)]
        unknown = next(index for index, token in enumerate(special) if "unk" in token.lower())
        return models.Unigram(pieces, unk_id=unknown)
    letters = dict.fromkeys([*special, "▁", *LETTERS, *pre_tokenizers.ByteLevel.alphabet()])
    words = [*sorted(letters, key=lambda word: (word not in special, word)), *("".join(pair) for pair in MERGES)]
    return models.BPE({word: index for index, word in enumerate(words)}, MERGES)
