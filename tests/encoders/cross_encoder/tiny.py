"""Tiny cross-encoders with random weights: names and shapes are those of transformers, the numbers come from a seed."""

import json
import lzma
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SHAPES = Path(__file__).with_name("tiny.json")
FOLDER = Path(__file__).with_name("exports")
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "query", ":", "yes", "no"]
VOCABULARY = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3} | {word: 4 + index for index, word in enumerate(WORDS)}
WINDOW = 48
LONG = " ".join(WORDS[index % 9] for index in range(0, 400, 7))
PAIRS = [
    ("one two", "three four five"),
    ("one two", "one two"),
    ("six", "seven eight nine " * 4),
    ("nine eight", ""),
    ("one two three", LONG),
    (LONG, "four five six"),
    (LONG, LONG + " seven"),
    ("five " * 22, "six " * 23),
]
"""Queries and documents. The last four are longer than the window: the document, the query, or both are truncated."""

COMMON = {"vocab_size": len(VOCABULARY), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {**_BERT, "type_vocab_size": 2},
    "roberta": {**_BERT, "type_vocab_size": 1},
    "xlm-roberta": {**_BERT, "type_vocab_size": 1},
    "camembert": {**_BERT, "type_vocab_size": 1},
    "mpnet": _BERT,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    "electra": {**_BERT, "type_vocab_size": 2, "embedding_size": 16},
    "albert": {**_BERT, "type_vocab_size": 2, "embedding_size": 16, "num_hidden_groups": 1},
    "deberta-v2": {
        **_BERT,
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "modernbert": {
        **_BERT,
        "num_hidden_layers": 4,
        "local_attention": 8,
        "global_attn_every_n_layers": 3,
        "classifier_pooling": "mean",
        "cls_token_id": 0,
        "sep_token_id": 2,
    },
    "eurobert": {
        **_BERT,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 250_000.0},
    },
    "qwen3": {**_BERT, "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": False},
    "mistral": {**_BERT, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": None},
    "llama": {**_BERT, "num_key_value_heads": 2},
    "gemma3_text": {**_BERT, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8},
}

TEMPLATE = (
    "one {{ messages | selectattr('role', 'eq', 'system') | map(attribute='content') | first | default('two') }} : "
    '{{ (messages | selectattr("role", "eq", "query") | first).content }} three {{ messages | selectattr("role", "eq", '
    '"document") | map(attribute="content") | first }} four five\n'
)
"""A chat template for pairs."""
CARD_WINDOW = 120
"""Window for the prompt of Qwen3-Reranker's model card, which alone has 77 tokens here."""
_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
}
_GROUPS = ("q_groups", "k_groups", "v_groups", "intermediate_groups", "output_groups")
EXPORTS: dict[str, dict[str, Any]] = {
    "bert": _SMALL,
    "squeezebert": {**_SMALL, "embedding_size": 16, **dict.fromkeys(_GROUPS, 2)},
}
"""Models that are also ONNX files: one with segments, and one whose architecture Umekomi does not know."""


def load_golden() -> dict[str, Any]:
    """Return the shapes and scores of each model type, as written by generate_tiny.py."""
    golden: dict[str, Any] = json.loads(SHAPES.read_text("utf-8"))
    return golden


def make_folder(
    folder: Path, model_type: str, golden: dict[str, Any], *, activation: str | None = None, **config: object
) -> Path:
    """Write a tiny cross-encoder and return its folder.

    Args:
        folder: Folder to create.
        model_type: Key of :data:`CONFIGS`.
        golden: Row of tiny.json with ``architecture`` and ``shapes``.
        activation: Class of torch for the scores; by default the folder does not name one.
        config: Values of config.json to replace.
    """
    if activation is not None:
        config["sentence_transformers"] = {"activation_fn": activation, "version": "6.2.0"}
    write_config(folder, model_type, golden["architecture"], **{**CONFIGS[model_type], **config})
    tensors = {name: make_tensor(name, tuple(shape)) for name, shape in golden["shapes"].items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make_language_model(
    folder: Path, golden: dict[str, Any], *, template: str | None, saved: bool = False, window: int = WINDOW
) -> Path:
    """Write a tiny Qwen3 that answers yes or no, and return its folder.

    Args:
        folder: Folder to create.
        golden: Row of tiny.json with ``architecture`` and ``shapes``.
        template: Chat template, if the model has one.
        saved: Whether the folder has modules, as CrossEncoder saves it.
        window: Maximum number of tokens of a prompt.
    """
    make_folder(folder, "qwen3", golden, max_position_embeddings=256)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template, "model_max_length": window}))
    if saved:
        types = ["base.modules.transformer.Transformer", "cross_encoder.modules.logit_score.LogitScore"]
        rows = [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.{each}"}
            for index, (path, each) in enumerate(zip(("", "1_LogitScore"), types, strict=True))
        ]
        (folder / "modules.json").write_text(json.dumps(rows))
        (folder / "1_LogitScore").mkdir()
        answers = {"true_token_id": VOCABULARY["yes"], "false_token_id": None, "module_input_name": "causal_logits"}
        (folder / "1_LogitScore" / "config.json").write_text(json.dumps(answers))
        output = {"module_output_name": "causal_logits", "transformer_task": "text-generation"}
        text = {"method": "forward", "method_output_name": "logits"}
        modalities = {"text": text, "message": {**text, "format": "flat"}}
        (folder / "sentence_bert_config.json").write_text(json.dumps({**output, "modality_config": modalities}))
        own = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity", "__version__": {}}
        own |= {"prompts": {"task": "nine eight"}, "default_prompt_name": "task"}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
    return folder


def make_export(folder: Path, model_type: str) -> Path:
    """Write a tiny cross-encoder whose weights are in an ONNX file, and return its folder."""
    write_config(folder, model_type, f"{model_type}ForSequenceClassification", **EXPORTS[model_type])
    (folder / "onnx").mkdir(exist_ok=True)
    (folder / "onnx" / "model.onnx").write_bytes(lzma.decompress((FOLDER / f"{model_type}.onnx.xz").read_bytes()))
    return folder


def write_config(folder: Path, model_type: str, architecture: str, **config: object) -> None:
    """Write the configuration and the tokenizer of a cross-encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {"model_type": model_type, "architectures": [architecture], **COMMON}
    description |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, **config}
    (folder / "config.json").write_text(json.dumps(description))
    write_tokenizer(folder, model_type)


def make_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    is_norm = "norm" in name.lower() and name.endswith("weight")
    if is_norm:
        return random.normal(1, 0.1, shape).astype(np.float32)
    # Large biases of queries and keys would make every token attend to one only.
    values = random.normal(0, 0.05 if name.endswith("bias") else 0.3, shape)
    return values.astype(np.float32)


def write_tokenizer(folder: Path, model_type: str) -> None:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with_segments = model_type in ("bert", "distilbert", "electra", "albert", "squeezebert")
    pair = "<s> $A </s> $B:1 </s>:1" if with_segments else "<s> $A </s> </s> $B </s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=pair, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    inputs = [
        "input_ids",
        *(["token_type_ids"] if with_segments and model_type != "distilbert" else []),
        "attention_mask",
    ]
    content = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": WINDOW, "model_input_names": inputs}
    (folder / "tokenizer_config.json").write_text(json.dumps({**content, **special}))
