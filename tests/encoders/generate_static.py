"""Generate static.json: vectors of the tiny static models, computed by sentence-transformers and model2vec. Run manually."""

import json
import tempfile
from pathlib import Path

from model2vec import StaticModel
from sentence_transformers import SentenceTransformer
from tiny_static import TEXTS, make_model2vec, make_static_embedding, make_static_with_steps

golden = {}
with tempfile.TemporaryDirectory() as temporary:
    folder = Path(temporary)
    for dtype in ("float32", "float16"):
        model = SentenceTransformer(str(make_static_embedding(folder / f"st-{dtype}", dtype=dtype)), device="cpu")
        golden[f"static-embedding {dtype}"] = model.encode(TEXTS).tolist()
    golden["static-embedding query"] = model.encode(TEXTS, prompt_name="query").tolist()
    model = SentenceTransformer(str(make_static_with_steps(folder / "steps")), device="cpu")
    golden["static-embedding steps"] = model.encode(TEXTS).tolist()
    for dtype in ("float32", "float16", "int8"):
        for quantized in (False, True):
            path = make_model2vec(folder / f"m2v-{dtype}-{quantized}", dtype=dtype, quantized=quantized)
            golden[f"model2vec {dtype}{' quantized' if quantized else ''}"] = (
                StaticModel.from_pretrained(path).encode(TEXTS).tolist()
            )
rounded = {key: [[round(value, 5) for value in row] for row in rows] for key, rows in golden.items()}
(Path(__file__).parent / "static.json").write_text(json.dumps(rounded, separators=(",", ":")) + "\n")
