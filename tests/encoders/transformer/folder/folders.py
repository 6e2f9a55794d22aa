"""Folders in the format of sentence-transformers with every setting that Umekomi supports, generated from a seed."""

import json
import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from ..tiny import HIDDEN, TEXTS, WORDS, make_folder

MODULE = "sentence_transformers.models."
PROMPTS = {"query": "query: ", "document": "passage: "}
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
CASE_TEXTS = TEXTS[:3]


def edit(path: Path, **changes: object) -> None:
    """Change keys of a JSON file, which is created if there is none."""
    path.parent.mkdir(exist_ok=True)
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | changes))


def set_modules(folder: Path, *names: str) -> None:
    """Write ``modules.json``. A module has the folder ``1_Pooling``, ``2_Dense`` and so on."""
    entries = []
    for index, name in enumerate(names):
        path = f"{index}_{name.rpartition('.')[2]}" if index else ""
        entries.append({"idx": index, "name": str(index), "path": path, "type": name if "." in name else MODULE + name})
    (folder / "modules.json").write_text(json.dumps(entries))


def save_tensors(path: Path, tensors: Mapping[str, np.ndarray], dtype: str = "float32") -> None:
    """Write a safetensors file. NumPy has no bfloat16, which is the first half of a float32."""
    path.parent.mkdir(exist_ok=True)
    if dtype != "bfloat16":
        save_file({name: values.astype(dtype) for name, values in tensors.items()}, path, metadata={"format": "pt"})
        return
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in tensors.items():
        raw = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": values.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)


def add_dense(folder: Path, index: int, n_in: int, n_out: int, *, dtype: str = "float32", **config: object) -> None:
    """Write the files of a dense layer with random weights."""
    random = np.random.default_rng(index)
    tensors = {"linear.weight": random.normal(0, 0.4, (n_out, n_in))}
    config = {"in_features": n_in, "out_features": n_out, "bias": True} | config
    if config["bias"]:
        tensors["linear.bias"] = random.normal(0, 0.4, n_out)
    if config.get("use_residual") and n_in != n_out:
        tensors["residual.weight"] = random.normal(0, 0.4, (n_out, n_in))
    edit(folder / f"{index}_Dense" / "config.json", **config)
    save_tensors(folder / f"{index}_Dense" / "model.safetensors", tensors, dtype)


def set_pooling(folder: Path, modes: Sequence[str], **config: object) -> None:
    """Write a pooling in the format of version 6."""
    shutil.rmtree(folder / "1_Pooling")
    mode = modes[0] if len(modes) == 1 else list(modes)
    edit(folder / "1_Pooling" / "config.json", embedding_dimension=HIDDEN, pooling_mode=mode, **config)


def pool(folder: Path, *, modes: Sequence[str]) -> None:
    set_pooling(folder, modes)


def pool_as_before_version_5_4(folder: Path) -> None:
    shutil.rmtree(folder / "1_Pooling")
    keys = ("mean_sqrt_len_tokens", "cls_token", "lasttoken", "weightedmean_tokens")
    modes = {f"pooling_mode_{key}": True for key in keys}
    edit(folder / "1_Pooling" / "config.json", word_embedding_dimension=HIDDEN, **modes)


def exclude_prompt(folder: Path, *, modes: Sequence[str]) -> None:
    set_pooling(folder, modes, include_prompt=False)
    edit(folder / "config_sentence_transformers.json", prompts=PROMPTS)


def dense(folder: Path, *, n_out: int = 16, **config: Any) -> None:
    add_dense(folder, 2, HIDDEN, n_out, **config)
    set_modules(folder, "Transformer", "Pooling", "Dense", "Normalize")


def two_dense_layers(folder: Path) -> None:
    add_dense(folder, 2, HIDDEN, 48, activation_function="torch.nn.modules.activation.ReLU")
    add_dense(folder, 3, 48, 24)
    set_modules(folder, "Transformer", "Pooling", "Dense", "sentence_transformers.base.modules.dense.Dense")


def normalize_before_dense(folder: Path) -> None:
    add_dense(folder, 3, HIDDEN, 16)
    set_modules(folder, "Transformer", "Pooling", "Normalize", "Dense")


def dense_before_pooling(folder: Path) -> None:
    add_dense(folder, 1, HIDDEN, 20, module_input_name="token_embeddings", module_output_name="token_embeddings")
    edit(folder / "2_Pooling" / "config.json", embedding_dimension=20, pooling_mode="max")
    set_modules(folder, "Transformer", "Dense", "Pooling", "Normalize")


def layer_norm_and_dropout(folder: Path) -> None:
    random = np.random.default_rng(3)
    edit(folder / "2_LayerNorm" / "config.json", dimension=HIDDEN)
    tensors = {"norm.weight": random.normal(1, 0.5, HIDDEN), "norm.bias": random.normal(0, 0.5, HIDDEN)}
    save_tensors(folder / "2_LayerNorm" / "model.safetensors", tensors)
    edit(folder / "3_Dropout" / "config.json", dropout=0.3)
    set_modules(folder, "Transformer", "Pooling", "LayerNorm", "Dropout")


def prompts(folder: Path) -> None:
    version = {"sentence_transformers": "3.0.0", "transformers": "4.41.0", "pytorch": "2.3.0"}
    edit(
        folder / "config_sentence_transformers.json",
        __version__=version,
        prompts=PROMPTS | {"other": "nine one "},
        default_prompt_name="other",
        similarity_fn_name="dot",
    )


def truncate(folder: Path) -> None:
    edit(folder / "config_sentence_transformers.json", model_type="SentenceTransformer", truncate_dim=7)


def lowercase(folder: Path) -> None:
    edit(folder / "sentence_bert_config.json", max_seq_length=40, do_lower_case=True)


def lowercase_with_normalizer(folder: Path) -> None:
    save_tokenizer(folder, "<s> $A </s>", normalizer=normalizers.Replace("one", "TWO"))
    lowercase(folder)


def files_of_version_6(folder: Path) -> None:
    edit(
        folder / "sentence_bert_config.json",
        transformer_task="feature-extraction",
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
    )
    edit(
        folder / "config_sentence_transformers.json",
        model_type="SentenceTransformer",
        prompts={"query": "", "document": ""},
    )
    set_pooling(folder, ["mean"], include_prompt=True)
    edit(folder / "2_Normalize" / "config.json", module_input_name="sentence_embedding")


def transformer_in_a_folder(folder: Path) -> None:
    (folder / "0_Transformer").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (folder / name).rename(folder / "0_Transformer" / name)
    edit(folder / "0_Transformer" / "sentence_bert_config.json", max_seq_length=24)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))


def no_modules(folder: Path) -> None:
    (folder / "modules.json").unlink()
    edit(folder / "config.json", architectures=["BertForMaskedLM"])


def several_files(folder: Path) -> None:
    tensors = list(load_file(folder / "model.safetensors").items())
    (folder / "model.safetensors").unlink()
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    halves = dict(zip(names, (dict(tensors[:9]), dict(tensors[9:])), strict=True))
    for name, half in halves.items():
        save_tensors(folder / name, half)
    weight_map = {key: name for name, half in halves.items() for key in half}
    edit(folder / "model.safetensors.index.json", metadata={"total_size": 1}, weight_map=weight_map)


def weights_of_type(folder: Path, *, dtype: str) -> None:
    save_tensors(folder / "model.safetensors", load_file(folder / "model.safetensors"), dtype)


def save_tokenizer(folder: Path, template: str, normalizer: normalizers.Normalizer | None = None) -> None:
    """Write a tokenizer that adds the special tokens in a template to each text."""
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocabulary = ids | {word: 4 + index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    used = [(token, index) for token, index in ids.items() if token in template]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
    tokenizer.save(str(folder / "tokenizer.json"))


def special_tokens(folder: Path, *, template: str) -> None:
    save_tokenizer(folder, template)
    exclude_prompt(folder, modes=["lasttoken", "mean"])


def merge_prompt(folder: Path, *, include_prompt: bool) -> None:
    """Let the last token of the prompt and the first token of the text become other tokens if they are one word."""
    merged = [normalizers.Replace("xone", "six"), normalizers.Replace("xfive", "seven one")]
    save_tokenizer(folder, "<s> $A </s>", normalizer=normalizers.Sequence(merged))
    set_pooling(folder, ["mean"], include_prompt=include_prompt)
    edit(folder / "config_sentence_transformers.json", prompts={"query": "query: x", "document": ""})


def unnamed_special_tokens(folder: Path, *, template: str) -> None:
    """Name no special tokens in tokenizer_config.json, so that the last one counts as a part of the prompt."""
    special_tokens(folder, template=template)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def special_token_in_prompt(folder: Path) -> None:
    """Let the prompt end with a special token, which does not count as a part of the prompt."""
    special_tokens(folder, template="<s> $A")
    edit(folder / "config_sentence_transformers.json", prompts={"query": "query : </s>"})


def prompt_without_text(folder: Path) -> None:
    """Let the end of the prompt and a text be one token, so that no token remains after the prompt."""
    save_tokenizer(folder, "$A")
    set_pooling(folder, ["cls"], include_prompt=False)
    edit(folder / "config_sentence_transformers.json", prompts={"query": "query: x"})


CASES: Mapping[str, Callable[[Path], None]] = {
    **{mode: partial(pool, modes=[mode]) for mode in POOLINGS},
    "cls and mean": partial(pool, modes=["cls", "mean"]),
    "mean and cls": partial(pool, modes=["mean", "cls"]),
    "old pooling": pool_as_before_version_5_4,
    **{f"{mode} without prompt": partial(exclude_prompt, modes=[mode]) for mode in POOLINGS},
    "dense": dense,
    "dense without bias": partial(dense, bias=False, activation_function="torch.nn.modules.linear.Identity"),
    "dense fp16": partial(dense, dtype="float16", activation_function="torch.nn.modules.activation.GELU"),
    "dense bf16": partial(dense, dtype="bfloat16", activation_function="torch.nn.modules.activation.SiLU"),
    "residual": partial(dense, n_out=HIDDEN, use_residual=True),
    "projected residual": partial(dense, n_out=40, use_residual=True),
    "two dense layers": two_dense_layers,
    "normalize before dense": normalize_before_dense,
    "dense before pooling": dense_before_pooling,
    "layer norm and dropout": layer_norm_and_dropout,
    "prompts": prompts,
    "merged prompt": partial(merge_prompt, include_prompt=True),
    "merged prompt without prompt": partial(merge_prompt, include_prompt=False),
    "truncate": truncate,
    "lowercase": lowercase,
    "lowercase with normalizer": lowercase_with_normalizer,
    "version 6": files_of_version_6,
    "transformer in a folder": transformer_in_a_folder,
    "no modules": no_modules,
    "several files": several_files,
    **{dtype: partial(weights_of_type, dtype=dtype) for dtype in ("float16", "bfloat16", "float64")},
    **{
        f"template {template}": partial(special_tokens, template=template)
        for template in ("$A", "$A </s>", "<s> $A", "<s> <unk> $A </s> </s>")
    },
    **{
        f"unnamed {template}": partial(unnamed_special_tokens, template=template)
        for template in ("$A </s>", "<s> $A", "<s> $A </s>", "<s> <unk> $A </s> </s>")
    },
    "special token in prompt": special_token_in_prompt,
    "prompt without text": prompt_without_text,
}
"""Settings of sentence-transformers, as changes of the folder of a tiny BERT."""


def make_case(folder: Path, name: str) -> Path:
    """Write the folder of a case and return it."""
    make_folder(folder, "bert")
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=36,
    )
    set_modules(folder, "Transformer", "Pooling", "Normalize")
    edit(folder / "1_Pooling" / "config.json", word_embedding_dimension=HIDDEN)
    CASES[name](folder)
    return folder
