"""Generate tiny.json: vectors of the tiny models, computed by transformers and torch. Run manually with both installed."""

import json
import tempfile
from pathlib import Path

import torch
from tiny import FAMILIES, TEXTS, make_folder
from tokenizers import Tokenizer
from transformers import AutoModel

golden = {}
with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
    for family in FAMILIES:
        path = make_folder(Path(folder) / family, family)
        model = AutoModel.from_pretrained(path).eval()
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        rows = {"mean": [], "cls": [], "max": []}
        for text in TEXTS:
            state = model(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
            for pooling, pooled in (("mean", state.mean(0)), ("cls", state[0]), ("max", state.max(0).values)):
                unit = torch.nn.functional.normalize(pooled, dim=0)
                rows[pooling].append([round(float(value), 5) for value in unit])
        golden[family] = rows
(Path(__file__).parent / "tiny.json").write_text(json.dumps(golden) + "\n")
