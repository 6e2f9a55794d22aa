"""Generate architectures.json with torch: python -m tests.encoders.transformer.network.generate_architectures."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open

FILE = Path(__file__).parent / "architectures.json"
if not FILE.exists():
    FILE.write_text("{}")

from .tiny_architectures import N_WORDS, token_ids, write_tensors  # noqa: E402 - reads the file

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}
TOKENS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
GROUPED = {"num_key_value_heads": 2}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "relu"}
DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
}
ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]
# Only the layers with global attention are scaled, as in Gemma 3 from 4B on.
SCALED_LAYERS = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
NTK = {"theta": 1000.0, "factor": 4.0}
# Linear scaling with another base: the same angles as GTE's scaling.
LINEAR = {"rope_type": "linear", "rope_theta": NTK["theta"] * NTK["factor"], "factor": NTK["factor"] ** (2 / 8)}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SMALL),
    "roberta": ("Roberta", SMALL | {"max_position_embeddings": 258, "type_vocab_size": 1}),
    "xlm-roberta": ("XLMRoberta", SMALL | {"max_position_embeddings": 258, "type_vocab_size": 1}),
    "camembert": ("Camembert", SMALL | {"max_position_embeddings": 258, "type_vocab_size": 1}),
    "mpnet": ("MPNet", SMALL | {"max_position_embeddings": 258}),
    "distilbert": ("DistilBert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 256}),
    "electra": ("Electra", SMALL | {"embedding_size": 16}),
    "electra, no projection": ("Electra", SMALL | {"embedding_size": 32}),
    "albert": ("Albert", SMALL | {"embedding_size": 16}),
    "albert, groups": (
        "Albert",
        SMALL | {"embedding_size": 16, "num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2},
    ),
    "deberta-v2": ("DebertaV2", SMALL | DEBERTA | {"position_buckets": 16}),
    "deberta-v2, no buckets": ("DebertaV2", SMALL | DEBERTA | {"position_buckets": -1}),
    "deberta-v2, segments": ("DebertaV2", SMALL | DEBERTA | {"position_buckets": 16, "type_vocab_size": 2}),
    "modernbert": ("ModernBert", SMALL | {"num_hidden_layers": 4, "local_attention": 16, "hidden_activation": "gelu"}),
    "modernbert, biases": (
        "ModernBert",
        SMALL | {"num_hidden_layers": 3, "layer_types": ALTERNATING, "local_attention": 16, "norm_bias": True}
        | {"attention_bias": True, "mlp_bias": True},
    ),
    "nomic_bert": ("NomicBert", SMALL),
    "gte": ("Gte", SMALL),
    "gte, no segments": ("Gte", SMALL | {"type_vocab_size": 0}),
    "new": ("Gte", SMALL | {"rope_parameters": LINEAR}),
    "jina_embeddings_v3": ("JinaEmbeddingsV3", SMALL),
    "eurobert": ("EuroBert", SMALL | GROUPED),
    "llama": ("Llama", SMALL | GROUPED),
    "llama, scaled": (
        "Llama",
        SMALL | GROUPED | {"attention_bias": True, "mlp_bias": True}
        | {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}},
    ),
    "llama, llama3": (
        "Llama",
        SMALL | GROUPED
        | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0}
           | {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}},
    ),
    "llama, yarn": (
        "Llama",
        SMALL | GROUPED
        | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0}
           | {"original_max_position_embeddings": 64}},
    ),
    "mistral": ("Mistral", SMALL | GROUPED | {"sliding_window": 12}),
    "mistral, no window": ("Mistral", SMALL | GROUPED | {"sliding_window": None, "head_dim": 16}),
    "qwen2": ("Qwen2", SMALL | GROUPED),
    "qwen2, bidirectional": ("Qwen2", SMALL | GROUPED | {"is_causal": False}),
    "qwen2, window": (
        "Qwen2",
        SMALL | GROUPED | {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", SMALL | GROUPED | {"head_dim": 16}),
    "gemma3_text": (
        "Gemma3Text",
        SMALL | {"num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 16}
        | {"num_hidden_layers": 3, "layer_types": ALTERNATING, "use_bidirectional_attention": True},
    ),
    "gemma3_text, causal": (
        "Gemma3Text",
        SMALL | {"num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 10}
        | {"num_hidden_layers": 3, "layer_types": ALTERNATING},
    ),
    "gemma3_text, scaled": (
        "Gemma3Text",
        SMALL | {"num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16}
        | {"num_hidden_layers": 3, "layer_types": ALTERNATING, "rope_parameters": SCALED_LAYERS},
    ),
    "t5": ("T5", T5),
    "t5, gated": ("T5", T5 | {"feed_forward_proj": "gated-gelu", "d_kv": 12, "relative_attention_max_distance": 64}),
    "mt5": ("MT5", T5 | {"feed_forward_proj": "gated-gelu"}),
}  # fmt: skip


def compute_case(name: str, folder: Path) -> dict[str, Any]:
    class_name, settings = MODELS[name]
    config = getattr(transformers, f"{class_name}Config")(vocab_size=N_WORDS, **TOKENS | settings)
    model_class = getattr(transformers, f"{class_name}{'EncoderModel' if 'T5' in class_name else 'Model'}")
    model_class(config).save_pretrained(folder)
    description = json.loads((folder / "config.json").read_text())
    with safe_open(folder / "model.safetensors", "np") as tensors:
        shapes = {key: tensors.get_slice(key).get_shape() for key in sorted(tensors.keys()) if "pooler" not in key}
    write_tensors(folder / "model.safetensors", shapes, "F32")
    model = model_class.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    rows = []
    with torch.inference_mode():
        for ids in token_ids():
            state = model(input_ids=torch.tensor(ids[None].astype("int64"))).last_hidden_state[0]
            pooled = torch.cat([state[0], state.mean(0), state[-1]])
            rows.append([float(f"{value:.5g}") for value in pooled.tolist()])
    if name == "new":
        description |= {"model_type": "new", "rope_theta": NTK["theta"], "position_embedding_type": "rope"}
        description["rope_scaling"] = {"type": "ntk", "factor": NTK["factor"]}
        del description["rope_parameters"]
    return {"config": description, "shapes": shapes, "states": rows}


def main() -> None:
    """Add the cases that the file does not have yet. Delete it to generate all again."""
    known = json.loads(FILE.read_text("utf-8"))
    cases = {}
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            cases[name] = known[name] if name in known else compute_case(name, Path(folder))
    lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
