"""Generate tiny.json: shapes and scores of the tiny cross-encoders, computed by sentence-transformers.

Run manually in an environment with sentence-transformers: ``python tests/encoders/cross_encoder/generate_tiny.py``.
"""

import json
import tempfile
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder
from tiny import COMMON, CONFIGS, PAIRS, SHAPES, make_folder
from transformers import AutoConfig, AutoModelForSequenceClassification

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
SHAPES.write_text(json.dumps(golden) + "\n")
