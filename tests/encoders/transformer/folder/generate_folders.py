"""Generate folders.json: vectors of the folders in folders.py, computed by sentence-transformers. Run it manually:

python -m tests.encoders.transformer.folder.generate_folders
"""

import json
import tempfile
from pathlib import Path

from sentence_transformers import SentenceTransformer

from .folders import CASE_TEXTS, CASES, make_case


def main() -> None:
    golden = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, name in enumerate(CASES):
            folder = make_case(Path(temporary) / str(number), name)
            model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
            texts = [text.upper() for text in CASE_TEXTS] if "lowercase" in name else CASE_TEXTS
            encode = {"": model.encode, "query": model.encode_query, "document": model.encode_document}
            golden[name] = {
                role: [
                    [round(float(value), 5) for value in row]
                    for row in call(texts, batch_size=1, normalize_embeddings=True)
                ]
                for role, call in encode.items()
                if not role or model.prompts.get(role)
            }
    (Path(__file__).parent / "folders.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
