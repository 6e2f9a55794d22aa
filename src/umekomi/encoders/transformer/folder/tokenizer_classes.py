"""The tokenizer that transformers makes of a model folder, by its class.

Most classes of transformers 5, such as ``BertTokenizer``, read only the vocabulary, the added tokens and sometimes the special
tokens around a text from ``tokenizer.json``. How they normalize and split texts is fixed, except for a few settings in
``tokenizer_config.json``. Most ``tokenizer.json`` say the same; for the others, this module does what the class does. Some
classes, such as ``PreTrainedTokenizerFast``, use ``tokenizer.json`` as it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from ....errors import InputError
from ...json_files import JsonObject, read_object
from ..vocabulary import TextTokenizer, add_lowercase, make_vocabulary, read_tokenizer

_ROLES = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")
_NO_CHARACTER = "\U0010fffd"
"""A character that no vocabulary contains."""
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class _Settings:
    """The settings of a tokenizer: ``tokenizer_config.json`` and, in old folders, ``special_tokens_map.json``."""

    def __init__(self, root: Path, tokens: Mapping[str, str | AddedToken]) -> None:
        path = root / "tokenizer_config.json"
        values = read_object(path)
        if "added_tokens_decoder" not in values:
            values |= read_object(root / "special_tokens_map.json")
        self._values = JsonObject(path, values)
        self._tokens = tokens

    def truth(self, key: str, *, default: bool) -> bool:
        return self._values.truth(key, default=default)

    def has(self, key: str) -> bool:
        return key in self._values

    def token(self, key: str) -> str:
        """Return the text of a special token."""
        return self._read(key, self._values.get(key) if key in self._values else self._tokens[key]).content

    def declared_tokens(self) -> dict[int, AddedToken] | None:
        """Return the added tokens by their ids; None if the settings have none."""
        key = "added_tokens_decoder"
        values = self._values.get(key)
        if values is None:
            return None
        if not isinstance(values, dict) or not all(index.isdecimal() for index in values):
            raise self._values.error([key], "Umekomi expects an object of token ids")
        return {int(index): self._read(key, value) for index, value in values.items()}

    def special_tokens(self, tokenizer: Tokenizer) -> list[AddedToken]:
        """Return the tokens with a role, and further special tokens. Those of the class may be missing in the vocabulary."""
        roles = [key for key in _ROLES if key in self._values or key in self._tokens]
        known = [key for key in roles if key in self._values or tokenizer.token_to_id(self.token(key)) is not None]
        tokens = [self._read(key, self._values.get(key) or self._tokens.get(key)) for key in known]
        key = "extra_special_tokens" if self._values.get("extra_special_tokens") else "additional_special_tokens"
        extra = self._values.get(key) or []
        if not isinstance(extra, list | dict):
            raise self._values.error([key], "Umekomi expects a list of tokens")
        return [*tokens, *(self._read(key, token) for token in (extra.values() if isinstance(extra, dict) else extra))]

    def _read(self, key: str, value: Any) -> AddedToken:
        if isinstance(value, AddedToken):
            return value
        if isinstance(value, str) and value:
            return AddedToken(value, special=True)
        if not isinstance(value, dict) or not isinstance(value.get("content"), str) or not value["content"]:
            raise self._values.error([key], "Umekomi expects tokens")
        flags = {name: bool(value.get(name, False)) for name in ("lstrip", "rstrip", "single_word", "special")}
        return AddedToken(value["content"], normalized=bool(value.get("normalized", not flags["special"])), **flags)


@dataclass(frozen=True, slots=True)
class _Class:
    """A class of transformers."""

    name: str
    #: Type of its vocabulary.
    model: type[models.Model]
    #: Changes how a tokenizer normalizes and splits texts, and the special tokens that it adds to them.
    apply: Callable[[Tokenizer, _Settings], None]
    #: Its special tokens. Folders may name others.
    tokens: Mapping[str, str | AddedToken]


def read_folder_vocabulary(root: Path, *, name: str, lowercase: bool = False) -> TextTokenizer:
    """Read the vocabulary of a model folder. The arguments and errors are those of :func:`read_folder_tokenizer`."""
    tokenizer, variant, special_ids = _read_tokenizer(root, name=name, lowercase=lowercase)
    return make_vocabulary(tokenizer, name=name, variant=variant, special_ids=special_ids)


def read_folder_tokenizer(root: Path, *, name: str, lowercase: bool = False) -> Tokenizer:
    """Read the tokenizer of a model folder as transformers does, but without truncation and padding.

    Args:
        root: Folder with ``tokenizer.json``.
        name: Name of the model for messages.
        lowercase: Whether texts are converted to lower case first, even if the tokenizer does not.

    Raises:
        InputError: A file has another format, or the class is unknown or does not fit the vocabulary.
    """
    return _read_tokenizer(root, name=name, lowercase=lowercase)[0]


def _read_tokenizer(root: Path, *, name: str, lowercase: bool) -> tuple[Tokenizer, str, list[int]]:
    """Return the tokenizer of a folder, a hash of what its class changes (empty if nothing), and the ids of special tokens."""
    tokenizer = read_tokenizer(root / "tokenizer.json", name=name)
    before = _describe(tokenizer)
    special_ids = _follow_class(tokenizer, root, name=name)
    after = _describe(tokenizer)
    if lowercase:
        add_lowercase(tokenizer)
    return tokenizer, hashlib.sha256(after).hexdigest() if after != before else "", special_ids


def gives_segments(root: Path, tokenizer: Tokenizer, *, name: str) -> bool:
    """Return whether the tokenizer class of a folder returns token type ids, which mark the second text of a pair."""
    names = JsonObject.read(root / "tokenizer_config.json").names("model_input_names")
    if names:
        return "token_type_ids" in names
    rules = _find_class(root, tokenizer, name)
    return rules is None or rules.name in ("BertTokenizer", "DebertaV2Tokenizer")


def _describe(tokenizer: Tokenizer) -> bytes:
    """Return how texts are normalized and split, and the ids around a text, to find out whether a class changes them."""
    parts = [part.__getstate__() for part in (tokenizer.normalizer, tokenizer.pre_tokenizer) if part is not None]
    return b"".join([*parts, repr(tokenizer.encode("a").ids).encode()])


def _follow_class(tokenizer: Tokenizer, root: Path, *, name: str) -> list[int]:
    """Change a tokenizer as its class does, and return the ids of the tokens with a role."""
    rules = _find_class(root, tokenizer, name)
    settings = _Settings(root, {} if rules is None else rules.tokens)
    try:
        if rules is not None:
            if not isinstance(tokenizer.model, rules.model):
                kind = type(tokenizer.model).__name__
                raise _MismatchError(f"a vocabulary of the type {kind}, not {rules.model.__name__}")
            rules.apply(tokenizer, settings)
        _add_tokens(tokenizer, settings, reads_added_tokens=rules is None)
    except _MismatchError as error:
        used = "PreTrainedTokenizerFast" if rules is None else rules.name
        raise InputError(
            f"{root / 'tokenizer.json'} has {error}, so the tokenizer that transformers makes of it ({used}) is another one.",
            param="model",
        ) from error
    tokenizer.encode_special_tokens = settings.truth("split_special_tokens", default=False)
    ids = [tokenizer.token_to_id(token.content) for token in settings.special_tokens(tokenizer)]
    return [index for index in ids if index is not None]


class _MismatchError(Exception):
    """What in ``tokenizer.json`` does not fit the class."""


def _find_class(root: Path, tokenizer: Tokenizer, model: str) -> _Class | None:
    """Return the class of a folder, or None if it uses ``tokenizer.json`` as it is."""
    config = read_object(root / "config.json")
    family = config.get("model_type")
    own = _CLASS_OF_TYPE.get(str(family))
    named = read_object(root / "tokenizer_config.json").get("tokenizer_class") or config.get("tokenizer_class")
    if family in _UNCHANGED_TYPES:
        return None
    # The folders of this type name a wrong class.
    name = own if family == "qwen2" else str(named).removesuffix("Fast") if named else own
    if name is None or name in _UNCHANGED_CLASSES:
        return None
    if name == "LlamaTokenizer" and "ByteLevel(" in f"{tokenizer.pre_tokenizer!r}{tokenizer.decoder!r}":
        return None
    if name not in _CLASSES:
        raise InputError(
            f"{model} has the tokenizer class {named!r}, which Umekomi does not know. If its tokenizer.json describes the whole "
            "tokenizer, set tokenizer_class to PreTrainedTokenizerFast in tokenizer_config.json.",
            param="model",
        )
    return _CLASSES[name]


def _add_tokens(tokenizer: Tokenizer, settings: _Settings, *, reads_added_tokens: bool) -> None:
    """Add the tokens of the settings that ``tokenizer.json`` lacks, and set the flags that the settings have."""
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    declared = settings.declared_tokens()
    special = settings.special_tokens(tokenizer)
    if declared is not None:
        for index, token in sorted(declared.items()):
            tokenizer.add_tokens([token])
            if tokenizer.token_to_id(token.content) != index:
                raise _MismatchError(f"another id for {token.content!r} than tokenizer_config.json")
        names = {token.content for token in (*declared.values(), *special)}
        if not reads_added_tokens and known - names:
            raise _MismatchError(f"the added token {min(known - names)!r}, which tokenizer_config.json lacks")
        known |= {token.content for token in declared.values()}
    tokenizer.add_tokens([token for token in special if token.content not in known])


def _id_of(tokenizer: Tokenizer, token: str) -> int:
    index = tokenizer.token_to_id(token)
    if index is None:
        raise _MismatchError(f"no token {token}")
    return index


def _add_around(tokenizer: Tokenizer, first: str | None, last: str, *, several: int = 1) -> None:
    """Add special tokens before and after a text. ``several`` is their number between the two texts of a pair."""
    before = [f"{first}:0"] if first is not None else []
    # Only BERT's classes distinguish the second text of a pair.
    second = 1 if several == 1 and first is not None else 0
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*before, "$A:0", f"{last}:0"],
        pair=[*before, "$A:0", *[f"{last}:0"] * several, f"$B:{second}", f"{last}:{second}"],
        special_tokens=[(token, _id_of(tokenizer, token)) for token in (first, last) if token is not None],
    )


def _require_unknown(tokenizer: Tokenizer, index: int) -> None:
    """Raise an error unless a Unigram vocabulary gives unknown characters an id. The library cannot change it."""
    try:
        ids = [token.id for token in tokenizer.model.tokenize(_NO_CHARACTER)]
    # The library raises plain Exceptions: there is no unknown token.
    except Exception:
        ids = []
    if ids != [index]:
        raise _MismatchError(f"another token for unknown characters than {tokenizer.id_to_token(index)!r}")


def _read_character_map(tokenizer: Tokenizer) -> list[normalizers.Normalizer]:
    """Return the precompiled map of characters in ``tokenizer.json``, if there is one."""
    if tokenizer.normalizer is None:
        return []
    description = json.loads(tokenizer.normalizer.__getstate__())
    steps = description["normalizers"] if description["type"] == "Sequence" else [description]
    maps = [step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"]
    return [normalizers.Precompiled(base64.b64decode(maps[0]))] if maps else []


def _set_normalizers(tokenizer: Tokenizer, steps: Sequence[normalizers.Normalizer]) -> None:
    tokenizer.normalizer = normalizers.Sequence(list(steps)) if steps else None


def _set_metaspace(tokenizer: Tokenizer, *, has_prefix: bool) -> None:
    space = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always" if has_prefix else "never")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])


def _set_merges(tokenizer: Tokenizer, *, fuse: bool, bytes_too: bool, unknown: str | None = None) -> None:
    model = tokenizer.model
    model.dropout, model.unk_token, model.fuse_unk, model.byte_fallback = None, unknown, fuse, bytes_too
    model.ignore_merges = False
    if model.continuing_subword_prefix or model.end_of_word_suffix:
        raise _MismatchError("marks of word parts")


def _apply_bert(tokenizer: Tokenizer, settings: _Settings) -> None:
    strip = settings.truth("strip_accents", default=False) if settings.has("strip_accents") else None
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.truth("tokenize_chinese_chars", default=True),
        strip_accents=strip,
        lowercase=settings.truth("do_lower_case", default=True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.model.unk_token = settings.token("unk_token")
    tokenizer.model.continuing_subword_prefix = "##"
    tokenizer.model.max_input_chars_per_word = 100
    _add_around(tokenizer, settings.token("cls_token"), settings.token("sep_token"))


def _apply_camembert(tokenizer: Tokenizer, settings: _Settings) -> None:
    _require_unknown(tokenizer, tokenizer.token_to_id(settings.token("unk_token")) or 0)
    _set_normalizers(tokenizer, _read_character_map(tokenizer))
    _set_metaspace(tokenizer, has_prefix=settings.truth("add_prefix_space", default=True))
    _add_around(tokenizer, settings.token("bos_token"), settings.token("eos_token"), several=2)


def _apply_xlm_roberta(tokenizer: Tokenizer, settings: _Settings) -> None:
    _apply_camembert(tokenizer, settings)
    _require_unknown(tokenizer, 3)


def _apply_t5(tokenizer: Tokenizer, settings: _Settings) -> None:
    _require_unknown(tokenizer, 2)
    _set_normalizers(tokenizer, _read_character_map(tokenizer))
    _set_metaspace(tokenizer, has_prefix=True)
    _add_around(tokenizer, None, settings.token("eos_token"))


def _apply_albert(tokenizer: Tokenizer, settings: _Settings) -> None:
    _require_unknown(tokenizer, 1)
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.truth("keep_accents", default=False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.truth("do_lower_case", default=True):
        steps.append(normalizers.Lowercase())
    _set_normalizers(tokenizer, [*steps, *_read_character_map(tokenizer)])
    _set_metaspace(tokenizer, has_prefix=settings.truth("add_prefix_space", default=True))
    if tokenizer.post_processor is None:
        _add_around(tokenizer, settings.token("cls_token"), settings.token("sep_token"))


def _apply_deberta(tokenizer: Tokenizer, settings: _Settings) -> None:
    lowercase = [normalizers.Lowercase()] if settings.truth("do_lower_case", default=False) else []
    spaces = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    _set_normalizers(tokenizer, [*lowercase, spaces, normalizers.NFC(), normalizers.Strip(left=False, right=True)])
    scheme = "always" if settings.truth("add_prefix_space", default=True) else "first"
    punctuation = settings.truth("split_by_punct", default=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *([pre_tokenizers.Punctuation(behavior="isolated")] if punctuation else []),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme),
        ]
    )
    _require_unknown(tokenizer, _id_of(tokenizer, settings.token("unk_token")))
    _add_around(tokenizer, settings.token("cls_token"), settings.token("sep_token"))


def _apply_roberta(tokenizer: Tokenizer, settings: _Settings) -> None:
    _set_merges(tokenizer, fuse=False, bytes_too=False)
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=settings.truth("add_prefix_space", default=False)
    )
    _add_around(tokenizer, settings.token("cls_token"), settings.token("sep_token"), several=2)


def _apply_mpnet(tokenizer: Tokenizer, settings: _Settings) -> None:
    _apply_bert(tokenizer, settings)
    _add_around(tokenizer, settings.token("cls_token"), settings.token("sep_token"), several=2)


def _apply_llama(tokenizer: Tokenizer, settings: _Settings) -> None:
    _set_merges(tokenizer, fuse=True, bytes_too=True)
    tokenizer.normalizer = None
    has_prefix = settings.truth("add_prefix_space", default=True)
    scheme = "never" if not has_prefix else "always" if settings.truth("legacy", default=False) else "first"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)


def _apply_gemma(tokenizer: Tokenizer, settings: _Settings) -> None:
    _set_merges(tokenizer, fuse=True, bytes_too=True, unknown=settings.token("unk_token"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")


def _apply_qwen2(tokenizer: Tokenizer, settings: _Settings) -> None:
    _set_merges(tokenizer, fuse=False, bytes_too=False)
    has_prefix = settings.truth("add_prefix_space", default=False)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=has_prefix, use_regex=False),
        ]
    )


_BERT_TOKENS = {
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
}
_ROBERTA_TOKENS: Mapping[str, str | AddedToken] = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "mask_token": "<mask>",
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
}
# The space before it is part of it.
_MASK = {"mask_token": AddedToken("<mask>", lstrip=True, special=True)}
_CLASSES = {
    rules.name: rules
    for rules in (
        _Class(
            "AlbertTokenizer",
            models.Unigram,
            _apply_albert,
            _BERT_TOKENS | {"pad_token": "<pad>", "unk_token": "<unk>"},
        ),
        _Class("BertTokenizer", models.WordPiece, _apply_bert, _BERT_TOKENS),
        _Class("CamembertTokenizer", models.Unigram, _apply_camembert, {**_ROBERTA_TOKENS, **_MASK}),
        _Class("DebertaV2Tokenizer", models.Unigram, _apply_deberta, _BERT_TOKENS),
        _Class(
            "GemmaTokenizer",
            models.BPE,
            _apply_gemma,
            {
                "bos_token": "<bos>",
                "eos_token": "<eos>",
                "mask_token": "<mask>",
                "pad_token": "<pad>",
                "unk_token": "<unk>",
            },
        ),
        _Class(
            "LlamaTokenizer",
            models.BPE,
            _apply_llama,
            {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        ),
        _Class("MPNetTokenizer", models.WordPiece, _apply_mpnet, {**_ROBERTA_TOKENS, **_MASK, "unk_token": "[UNK]"}),
        _Class(
            "Qwen2Tokenizer",
            models.BPE,
            _apply_qwen2,
            dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<|endoftext|>"),
        ),
        _Class("RobertaTokenizer", models.BPE, _apply_roberta, _ROBERTA_TOKENS),
        _Class(
            "T5Tokenizer",
            models.Unigram,
            _apply_t5,
            {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
        ),
        _Class("XLMRobertaTokenizer", models.Unigram, _apply_xlm_roberta, _ROBERTA_TOKENS),
    )
}
# It does not tell which tokens are of the second text of a pair.
_CLASSES["DistilBertTokenizer"] = replace(_CLASSES["BertTokenizer"], name="DistilBertTokenizer")
for _alias in ("ElectraTokenizer", "LayoutLMTokenizer", "MobileBertTokenizer", "SqueezeBertTokenizer"):
    _CLASSES[_alias] = _CLASSES["BertTokenizer"]
for _alias in ("BartTokenizer", "LongformerTokenizer"):
    _CLASSES[_alias] = _CLASSES["RobertaTokenizer"]

_CLASS_OF_TYPE = {
    "albert": "AlbertTokenizer",
    "camembert": "CamembertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "mobilebert": "MobileBertTokenizer",
    "mpnet": "MPNetTokenizer",
    **dict.fromkeys(("bert", "convbert", "distilbert", "electra", "ernie", "layoutlm"), "BertTokenizer"),
    **dict.fromkeys(("megatron-bert", "nomic_bert", "squeezebert"), "BertTokenizer"),
    **dict.fromkeys(("data2vec-text", "ibert", "lilt", "longformer", "roberta"), "RobertaTokenizer"),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), "GemmaTokenizer"),
    **dict.fromkeys(("gte", "jina_embeddings_v3", "xlm-roberta", "xmod"), "XLMRobertaTokenizer"),
    **dict.fromkeys(("qwen2", "qwen3"), "Qwen2Tokenizer"),
    **dict.fromkeys(("mt5", "t5"), "T5Tokenizer"),
    "roberta-prelayernorm": "RobertaTokenizer",
}
"""Default tokenizer class of each ``model_type``. Other types without a class use ``tokenizer.json`` unchanged."""
_UNCHANGED_TYPES = (
    *("gpt_bigcode", "granite", "ministral", "ministral3", "mistral", "mixtral", "modernbert", "modernbert-decoder"),
    *("nystromformer", "olmo2", "olmo3", "phi3", "stablelm", "umt5", "xlm-roberta-xl"),
)
"""Model types whose ``tokenizer.json`` is always used unchanged, even if the folder names a class."""
_UNCHANGED_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")
