"""Generate folders.json and mutations.json: vectors of sentence-transformers for folders.py and mutations.py. Run it manually:

python -m tests.encoders.transformer.folder.generate_folders
"""

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sentence_transformers import SentenceTransformer

from .folders import CASE_TEXTS, CASES, make_case
from .mutations import (
    ARCHITECTURES,
    ARCHITECTURES_CHANGING,
    CHANGING,
    architecture_mutations,
    make_architecture,
    make_original,
    mutations,
)


def main() -> None:
    golden = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, name in enumerate(CASES):
            folder = make_case(Path(temporary) / str(number), name)
            model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
            texts = [text.upper() for text in CASE_TEXTS] if "lowercase" in name else CASE_TEXTS
            encode = {"": model.encode, "query": model.encode_query, "document": model.encode_document}
            golden[name] = {
                role: round_rows(call(texts, batch_size=1, normalize_embeddings=True))
                for role, call in encode.items()
                if not role or model.prompts.get(role)
            }
    (Path(__file__).parent / "folders.json").write_text(json.dumps(golden) + "\n")
    mutated = {}
    with tempfile.TemporaryDirectory() as temporary:
        original = make_original(Path(temporary) / "original")
        for name, mutate in mutations():
            if name in CHANGING:
                folder = Path(temporary) / str(len(mutated))
                shutil.copytree(original, folder)
                mutate(folder)
                mutated[name] = round_rows(
                    SentenceTransformer(str(folder), device="cpu").encode(CASE_TEXTS, batch_size=1)
                )
        for case in ARCHITECTURES:
            for name, mutate in architecture_mutations(case):
                if name in ARCHITECTURES_CHANGING:
                    folder = make_architecture(Path(temporary) / str(len(mutated)), case)
                    mutate(folder)
                    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
                    mutated[name] = round_rows(model.encode(CASE_TEXTS, batch_size=1))
    (Path(__file__).parent / "mutations.json").write_text(json.dumps(mutated) + "\n")


def round_rows(rows: Iterable[Iterable[float]]) -> list[list[float]]:
    """Return vectors with five digits, which keep the file small."""
    return [[round(float(value), 5) for value in row] for row in rows]


if __name__ == "__main__":
    main()
