"""Tiny models with random weights, one per family, generated from a seed so that the files are the same everywhere."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

FAMILIES = ("bert", "roberta", "xlm-roberta", "mpnet", "distilbert")
TEXTS = ["one two three", "four", "five one nine " * 5, "seven " * 12]
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "query", "passage", ":"]
HIDDEN, INNER, LAYERS, HEADS, POSITIONS = 32, 64, 2, 4, 40


def write_tokenizer(folder: Path) -> dict[str, int]:
    """Write a tokenizer of words, which no class of transformers changes, and return its vocabulary."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3} | {word: 4 + index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return vocabulary


def make_folder(folder: Path, family: str, *, pooling: str = "mean") -> Path:
    """Write a tiny model in the format of sentence-transformers and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(folder)
    config: dict[str, object] = {"model_type": family, "vocab_size": len(vocabulary), "pad_token_id": 1}
    config |= {"max_position_embeddings": POSITIONS}
    if family == "distilbert":
        config |= {"dim": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": INNER, "activation": "gelu"}
    else:
        config |= {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
        config |= {"intermediate_size": INNER, "hidden_act": "gelu", "layer_norm_eps": 1e-5, "type_vocab_size": 1}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({name: name == modes[pooling] for name in modes.values()})
    )
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [{"type": f"sentence_transformers.models.{name}", "path": path} for name, path in paths.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    save_file(weights(family, len(vocabulary)), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def weights(family: str, n_words: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    tensors: dict[str, np.ndarray] = {}

    def linear(name: str, n_out: int, n_in: int) -> None:
        tensors[f"{name}.weight"] = random.normal(0, 0.3, (n_out, n_in)).astype(np.float32)
        tensors[f"{name}.bias"] = random.normal(0, 0.3, n_out).astype(np.float32)

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = random.normal(1, 0.1, HIDDEN).astype(np.float32)
        tensors[f"{name}.bias"] = random.normal(0, 0.1, HIDDEN).astype(np.float32)

    def table(name: str, rows: int, columns: int = HIDDEN) -> None:
        tensors[name] = random.normal(0, 0.5, (rows, columns)).astype(np.float32)

    table("embeddings.word_embeddings.weight", n_words)
    table("embeddings.position_embeddings.weight", POSITIONS)
    if family not in ("mpnet", "distilbert"):
        table("embeddings.token_type_embeddings.weight", 1)
    norm("embeddings.LayerNorm")
    if family == "mpnet":
        table("encoder.relative_attention_bias.weight", 32, HEADS)
    names = {
        "mpnet": ("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o", "attention.LayerNorm",
                  "intermediate.dense", "output.dense", "output.LayerNorm"),
        "distilbert": ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm",
                       "ffn.lin1", "ffn.lin2", "output_layer_norm"),
    }.get(family, ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                   "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"))  # fmt: skip
    for layer in range(LAYERS):
        start = f"transformer.layer.{layer}." if family == "distilbert" else f"encoder.layer.{layer}."
        for name in names[:4]:
            linear(start + name, HIDDEN, HIDDEN)
        norm(start + names[4])
        linear(start + names[5], INNER, HIDDEN)
        linear(start + names[6], HIDDEN, INNER)
        norm(start + names[7])
    return tensors
