"""Generate tokenizers.json: token ids of transformers for tiny_tokenizers.py. Run it manually:

python -m tests.encoders.transformer.folder.generate_tokenizers
"""

import json
import tempfile
from pathlib import Path

from transformers import AutoTokenizer

from .tiny_tokenizers import CHANGES, CLASSES, TEXTS, make_tokenizer


def main() -> None:
    golden: dict[str, dict[str, list[list[int]]]] = {}
    for name in CLASSES:
        golden[name] = {}
        for change in CHANGES:
            with tempfile.TemporaryDirectory() as temporary:
                tokenizer = AutoTokenizer.from_pretrained(make_tokenizer(Path(temporary), name, change))
                golden[name][change] = [tokenizer(text)["input_ids"] for text in TEXTS]
    (Path(__file__).parent / "tokenizers.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
