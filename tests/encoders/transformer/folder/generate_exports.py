"""Generate exports/: tiny models as ONNX files, and the vectors that transformers and torch compute.

Run it by hand where torch, transformers, onnx and onnxscript are installed: ``python generate_exports.py [NAME …]``. The
weights are random multiples of 1/8, so that the compressed files are a few kB.
"""

import json
import lzma
import sys
import tempfile
from pathlib import Path

import onnx
import torch
from tiny import TEXTS, WORDS
from transformers import AutoConfig, AutoModel, T5EncoderModel

FOLDER = Path(__file__).parent / "exports"
N_IDS = 4 + len(WORDS)
SIZES = {
    "vocab_size": N_IDS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 48,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
# The sliding windows are shorter than the texts; otherwise errors in masks have no effect.
LOCAL = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}
ARCHITECTURES = {
    "bert": {},
    "roberta": {"type_vocab_size": 1},
    "xlm-roberta": {"type_vocab_size": 1},
    "mpnet": {},
    "distilbert": {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8, "cls_token_id": 0, "sep_token_id": 2},
    "qwen3": GROUPED,
    "qwen2": {"num_key_value_heads": 1},
    "gemma3_text": GROUPED | LOCAL | {"query_pre_attn_scalar": 8, "use_bidirectional_attention": True},
    "nomic_bert": {},
    "gte": {},
    "jina_embeddings_v3": {},
    "eurobert": GROUPED,
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": None},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 1},
    "electra": {"embedding_size": 8},
    "deberta-v2": {"relative_attention": True, "position_buckets": 4, "pos_att_type": ["p2c", "c2p"], "share_att_key": True,
                   "norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0},
    "albert": {"embedding_size": 8},
    # Architectures that Umekomi has no table row for.
    "squeezebert": {"embedding_size": 16, "q_groups": 2, "k_groups": 2, "v_groups": 2,
                    "intermediate_groups": 2, "output_groups": 2},
    "convbert": {"embedding_size": 8, "conv_kernel_size": 3},
    "roformer": {"embedding_size": 8},
    "rembert": {"input_embedding_size": 8, "output_embedding_size": 8},
}  # fmt: skip
LAST_TOKEN = ("qwen3", "qwen2", "llama", "mistral")


class _States(torch.nn.Module):
    """The token states alone, with the inputs of most exports."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self._model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def make_model(name: str) -> torch.nn.Module:
    """Create a model with weights that are multiples of 1/8."""
    config = AutoConfig.for_model(name, **SIZES | ARCHITECTURES[name])
    config._attn_implementation = "eager" if name == "t5" else config._attn_implementation
    model = (T5EncoderModel(config) if name == "t5" else AutoModel.from_config(config)).eval()
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, tensor in model.named_parameters():
            is_norm = tensor.ndim == 1 and tensor.mean() > 0.5
            steps = torch.randint(-3, 4, tensor.shape, generator=random) / 8
            tensor.copy_(steps / 2 + 1 if is_norm else steps)
    return model


def export(model: torch.nn.Module, path: Path) -> None:
    ids = torch.randint(4, N_IDS, (2, 9))
    axes = {0: "batch", 1: "length"}
    torch.onnx.export(
        _States(model),
        (ids, torch.ones_like(ids)),
        str(path),
        dynamo=True,
        external_data=False,
        input_names=["input_ids", "attention_mask"],
        output_names=["last_hidden_state"],
        dynamic_shapes=(axes, axes),
        verbose=False,
    )
    # The source code's lines are most of the file.
    graph = onnx.load(str(path))
    del graph.metadata_props[:]
    graph.doc_string = ""
    stack = [graph.graph]
    del graph.graph.metadata_props[:]
    del graph.graph.value_info[:]
    for node in [node for part in stack for node in part.node] + [n for f in graph.functions for n in f.node]:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*graph.graph.input, *graph.graph.output, *graph.graph.initializer]:
        del value.metadata_props[:]
    onnx.save(graph, str(path))


def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    golden_file = FOLDER / "golden.json"
    golden = json.loads(golden_file.read_text()) if golden_file.exists() else {}
    ids_of = {word: 4 + number for number, word in enumerate(WORDS)}
    for name in names or ARCHITECTURES:
        model = make_model(name)
        with torch.inference_mode():
            rows = []
            for text in TEXTS:
                ids = torch.tensor([[0, *(ids_of[word] for word in text.split()), 2]])
                states = _States(model)(ids, torch.ones_like(ids))[0]
                pooled = states[-1] if name in LAST_TOKEN else states.mean(0)
                rows.append([round(float(value), 5) for value in torch.nn.functional.normalize(pooled, dim=0)])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export(model, path)
            (FOLDER / f"{name}.onnx.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
            print(name, path.stat().st_size, (FOLDER / f"{name}.onnx.xz").stat().st_size, flush=True)
        golden[name] = {"pooling": "lasttoken" if name in LAST_TOKEN else "mean", "vectors": rows}
        golden_file.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
