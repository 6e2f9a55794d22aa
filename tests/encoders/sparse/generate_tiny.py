"""Generate tiny.json: shapes and vectors of the tiny SPLADE models, computed by sentence-transformers.

Run manually in an environment with sentence-transformers: ``python -m tests.encoders.sparse.generate_tiny``.
"""

import json
import tempfile
from pathlib import Path

import torch
from safetensors.numpy import load_file
from sentence_transformers import SparseEncoder
from transformers import AutoConfig, AutoModelForMaskedLM

from ..cross_encoder.tiny import COMMON, CONFIGS
from .tiny import ACTIVATIONS, GOLDEN, MODEL_TYPES, TEXTS, make_folder

golden = {}
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    for model_type in MODEL_TYPES:
        config = AutoConfig.for_model(model_type, **COMMON, **CONFIGS[model_type])
        model = AutoModelForMaskedLM.from_config(config)
        model.save_pretrained(Path(folder) / f"{model_type}-saved")
        saved = load_file(Path(folder) / f"{model_type}-saved" / "model.safetensors")
        row = {"architecture": type(model).__name__, "shapes": {name: list(each.shape) for name, each in saved.items()}}
        for activation in ACTIVATIONS:
            path = make_folder(Path(folder) / f"{model_type}-{activation}", model_type, row, activation=activation)
            encoder = SparseEncoder(str(path), device="cpu")
            row[activation] = encoder.encode(TEXTS, convert_to_sparse_tensor=False).tolist()
        row["query"] = encoder.encode_query(TEXTS, convert_to_sparse_tensor=False).tolist()
        golden[model_type] = row
        print(model_type, [round(value, 3) for value in row["relu"][0]])
GOLDEN.write_text(json.dumps(golden) + "\n")
