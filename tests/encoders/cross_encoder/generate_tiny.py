"""Generate tiny.json: shapes and scores of the tiny cross-encoders, computed by sentence-transformers.

Run manually in an environment with sentence-transformers, onnx, onnxscript and umekomi:
``python tests/encoders/cross_encoder/generate_tiny.py``.
"""

import json
import lzma
import tempfile
from pathlib import Path

import onnx
import torch
from sentence_transformers import CrossEncoder
from tiny import (
    CARD_WINDOW,
    COMMON,
    CONFIGS,
    EXPORTS,
    FOLDER,
    PAIRS,
    SHAPES,
    TEMPLATE,
    make_folder,
    make_language_model,
    make_tensor,
    write_config,
)
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from umekomi.encoders.cross_encoder.chat import QWEN3_TEMPLATE


def export(model: torch.nn.Module, path: Path) -> None:
    """Write an ONNX file without the lines of the source code, which are most of it."""
    ids = torch.randint(4, 9, (2, 9))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = {name: torch.ones_like(ids) for name in names} | {"input_ids": ids}
    torch.onnx.export(
        model,
        kwargs=inputs,
        f=str(path),
        dynamo=True,
        external_data=False,
        input_names=names,
        output_names=["logits"],
        dynamic_shapes={name: {0: "batch", 1: "length"} for name in names},
        verbose=False,
    )
    graph = onnx.load(str(path))
    for part in [graph, graph.graph, *graph.graph.node, *(node for each in graph.functions for node in each.node)]:
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.graph.value_info[:]
    onnx.save(graph, str(path))


golden = {}
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    for model_type, values in CONFIGS.items():
        config = AutoConfig.for_model(model_type, **COMMON, **values, num_labels=1)
        model = AutoModelForSequenceClassification.from_config(config)
        shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items() if "position_ids" not in name}
        row = {"architecture": type(model).__name__, "shapes": shapes}
        path = make_folder(Path(folder) / model_type, model_type, row)
        encoder = CrossEncoder(str(path), device="cpu")
        row["scores"] = encoder.predict(PAIRS).tolist()
        row["logits"] = encoder.predict(PAIRS, activation_fn=torch.nn.Identity()).tolist()
        golden[model_type] = row
        print(model_type, [round(score, 4) for score in row["logits"]])
    config = AutoConfig.for_model("qwen3", **COMMON, **CONFIGS["qwen3"])
    model = AutoModelForCausalLM.from_config(config)
    row = {"architecture": "Qwen3ForCausalLM"}
    row["shapes"] = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, saved in (("plain", False), ("saved", True)):
        path = make_language_model(Path(folder) / f"answers-{name}", row, template=TEMPLATE, saved=saved)
        row[name] = CrossEncoder(str(path), device="cpu").predict(PAIRS).tolist()
        print(name, row[name])
    path = make_language_model(Path(folder) / "answers-card", row, template=QWEN3_TEMPLATE, window=CARD_WINDOW)
    row["card"] = CrossEncoder(str(path), device="cpu").predict(PAIRS).tolist()
    print("card", row["card"])
    golden["answers"] = row
    FOLDER.mkdir(exist_ok=True)
    for model_type, values in EXPORTS.items():
        config = AutoConfig.for_model(model_type, **COMMON, **values, num_labels=1)
        model = AutoModelForSequenceClassification.from_config(config).eval()
        for name, tensor in model.named_parameters():
            # Multiples of 1/8, so that the compressed file is small.
            tensor.copy_(torch.tensor(make_tensor(name, tuple(tensor.shape)) * 8).round() / 8)
        path = Path(folder) / f"export-{model_type}"
        write_config(path, model_type, type(model).__name__, **values)
        model.save_pretrained(path)
        golden[f"{model_type}.onnx"] = {"scores": CrossEncoder(str(path), device="cpu").predict(PAIRS).tolist()}
        export(model, path / "model.onnx")
        compressed = lzma.compress((path / "model.onnx").read_bytes(), preset=9 | lzma.PRESET_EXTREME)
        (FOLDER / f"{model_type}.onnx.xz").write_bytes(compressed)
        print(model_type, len(compressed), [round(score, 4) for score in golden[f"{model_type}.onnx"]["scores"]])
SHAPES.write_text(json.dumps(golden) + "\n")
