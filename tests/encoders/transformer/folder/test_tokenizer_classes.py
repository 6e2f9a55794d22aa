"""The tokenizer of a folder has the ids of transformers 5.24, also if its tokenizer.json differs from what its class does.

``generate_tokenizers.py`` wrote the ids of transformers to ``tokenizers.json``.
"""

import json
from pathlib import Path

import pytest

from umekomi.encoders.transformer.folder.tokenizer_classes import (
    gives_segments,
    read_folder_tokenizer,
    read_folder_vocabulary,
)
from umekomi.errors import InputError

from .folders import edit
from .tiny_tokenizers import CHANGES, CLASSES, TEXTS, add_undeclared_token, make_tokenizer

GOLDEN = json.loads((Path(__file__).parent / "tokenizers.json").read_text("utf-8"))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", CLASSES)
def test_token_ids_are_those_of_transformers(name: str, change: str, tmp_path: Path) -> None:
    vocabulary = read_folder_vocabulary(make_tokenizer(tmp_path, name, change), name="tiny")
    assert [[*vocabulary.before, *ids, *vocabulary.after] for ids in vocabulary.ids(TEXTS)] == GOLDEN[name][change]


@pytest.mark.parametrize("name", CLASSES)
def test_lowercase_adds_to_the_class(name: str, tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, name, "case")
    lowercase = read_folder_vocabulary(folder, name="tiny", lowercase=True)
    assert lowercase.ids(["The FOX"]) == read_folder_vocabulary(folder, name="tiny").ids(["the fox"])


def test_pairs_have_the_special_tokens_of_the_class(tmp_path: Path) -> None:
    tokenizer = read_folder_tokenizer(make_tokenizer(tmp_path, "XLMRobertaTokenizer", "none"), name="tiny")
    encoding = tokenizer.encode("a", "b")
    assert [token for token in encoding.tokens if token.startswith("<")] == ["<s>", "</s>", "</s>", "</s>"]
    assert set(encoding.type_ids) == {0}


@pytest.mark.parametrize("name", CLASSES)
def test_some_classes_tell_which_tokens_are_of_the_second_text(name: str, tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, name, "none")
    tokenizer = read_folder_tokenizer(folder, name="tiny")
    with_segments = ("BertTokenizer", "DebertaV2Tokenizer", "PreTrainedTokenizerFast")
    assert gives_segments(folder, tokenizer, name="tiny") is (name in with_segments)
    edit(folder / "tokenizer_config.json", model_input_names=["input_ids", "token_type_ids"])
    assert gives_segments(folder, tokenizer, name="tiny")


@pytest.mark.parametrize("name", [name for name, (_, kind, _) in CLASSES.items() if kind == "Unigram"])
def test_another_unknown_token_than_that_of_the_class_is_rejected(name: str, tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, name, "none")
    model = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    edit(folder / "tokenizer.json", model=model | {"unk_id": 0})
    with pytest.raises(InputError, match="has another token for unknown characters"):
        read_folder_tokenizer(folder, name="tiny")


def test_an_added_token_that_the_class_does_not_read_is_rejected(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, "BertTokenizer", "none")
    add_undeclared_token(folder)
    with pytest.raises(InputError, match=r"has the added token 'new', which tokenizer_config\.json lacks"):
        read_folder_tokenizer(folder, name="tiny")


def test_a_vocabulary_of_another_type_than_that_of_the_class_is_rejected(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, "BertTokenizer", "none")
    edit(folder / "tokenizer_config.json", tokenizer_class="XLMRobertaTokenizerFast")
    with pytest.raises(InputError, match="has a vocabulary of the type WordPiece, not Unigram"):
        read_folder_tokenizer(folder, name="tiny")


@pytest.mark.parametrize("named", ["PreTrainedTokenizerFast", "TokenizersBackend", "LlamaTokenizer"])
def test_the_class_of_qwen2_is_used_whatever_the_folder_names(named: str, tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, "Qwen2Tokenizer", "case")
    expected = read_folder_vocabulary(folder, name="tiny").ids(TEXTS)
    edit(folder / "tokenizer_config.json", tokenizer_class=named)
    edit(folder / "config.json", model_type="qwen2")
    assert read_folder_vocabulary(folder, name="tiny").ids(TEXTS) == expected


@pytest.mark.parametrize("family", ["convbert", "ernie", "megatron-bert", "squeezebert"])
def test_the_class_of_the_architecture_is_used_if_the_folder_names_none(family: str, tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, "BertTokenizer", "case")
    expected = read_folder_vocabulary(folder, name="tiny").ids(TEXTS)
    edit(folder / "tokenizer_config.json", tokenizer_class=None)
    edit(folder / "config.json", model_type=family)
    assert read_folder_vocabulary(folder, name="tiny").ids(TEXTS) == expected


@pytest.mark.parametrize("family", ["nystromformer", "umt5", "xlm-roberta-xl", "modernbert"])
def test_some_architectures_use_the_tokenizer_unchanged_whatever_the_folder_names(family: str, tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, "PreTrainedTokenizerFast", "case")
    expected = read_folder_vocabulary(folder, name="tiny").ids(TEXTS)
    edit(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    edit(folder / "config.json", model_type=family)
    assert read_folder_vocabulary(folder, name="tiny").ids(TEXTS) == expected


def test_an_unknown_class_is_rejected(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, "BertTokenizer", "none")
    edit(folder / "tokenizer_config.json", tokenizer_class="BertJapaneseTokenizer")
    with pytest.raises(
        InputError, match="has the tokenizer class 'BertJapaneseTokenizer', which Umekomi does not know"
    ):
        read_folder_tokenizer(folder, name="tiny")


def test_only_a_class_that_changes_the_tokenizer_changes_the_fingerprint(tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path, "BertTokenizer", "none")
    assert read_folder_vocabulary(folder, name="tiny").variant
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    parts = [{"id": "[CLS]", "type_id": 0}, {"id": "A", "type_id": 0}, {"id": "[SEP]", "type_id": 0}]
    template = [{"Sequence" if part["id"] == "A" else "SpecialToken": part} for part in parts]
    tokens = {token: {"id": token, "ids": [index], "tokens": [token]} for token, index in (("[CLS]", 2), ("[SEP]", 3))}
    content["normalizer"] = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    content["normalizer"] |= {"strip_accents": None, "lowercase": True}
    content["post_processor"] = {"type": "TemplateProcessing", "single": template, "pair": [], "special_tokens": tokens}
    edit(folder / "tokenizer.json", **content)
    assert not read_folder_vocabulary(folder, name="tiny").variant
