"""Every architecture matches transformers, at texts longer than its windows, with weights of every type."""

import json
import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.conftest import unavailable

from umekomi.encoders.transformer.backends.base import BACKENDS, Backend, build_backend
from umekomi.encoders.transformer.checkpoint import Checkpoint, read_safetensors
from umekomi.encoders.transformer.network.architectures import ARCHITECTURES, find_architecture
from umekomi.encoders.transformer.network.config import read_config
from umekomi.encoders.transformer.network.rope import Rope
from umekomi.encoders.transformer.steps import Normalize, Pool, PoolMode
from umekomi.errors import InputError
from umekomi.settings import Settings

from . import architecture_table
from .tiny_architectures import CASES, LENGTHS, N_WORDS, generate, make_model, token_ids, write_tensors

STEPS = (Pool((PoolMode.CLS, PoolMode.MEAN, PoolMode.LAST_TOKEN)),)
DTYPES = ("F32", "F16", "BF16")


def read(folder: Path) -> Checkpoint:
    return read_safetensors(
        folder / "model.safetensors", folder / "config.json", folder / "tokenizer.json", name="tiny"
    )


def compute(backend: Backend) -> np.ndarray:
    """Return the states of the first token, of all tokens on average, and of the last token: ``(texts, 3, hidden)``."""
    batches = []
    for index, text in enumerate(token_ids()):
        lengths = np.array([len(text)], dtype=np.int32)
        # Padding has any ids, which must not change the states.
        ids = np.full((1, int(backend.pad(lengths.astype(np.int64))[0])), 7, dtype=np.int32)
        ids[0, : len(text)] = text
        batches.append(([index], (ids, lengths, np.zeros(1, dtype=np.int32))))
    return np.concatenate([vectors for _, vectors in backend.run(batches)]).reshape(len(LENGTHS), 3, -1)


def cosines(states: np.ndarray, case: str) -> np.ndarray:
    expected = np.array(CASES[case]["states"]).reshape(states.shape)
    norms = np.linalg.norm(states, axis=2) * np.linalg.norm(expected, axis=2)
    return (states * expected).sum(axis=2) / norms


def test_every_architecture_has_a_case() -> None:
    assert {case.partition(",")[0] for case in CASES} == set(ARCHITECTURES) - {"jina_bert_v2"}


@pytest.mark.parametrize("case", CASES)
def test_states_match_transformers(case: str, tmp_path: Path, settings: Settings) -> None:
    exact = replace(settings, precision="fp32")
    states = {
        dtype: compute(build_backend(read(make_model(tmp_path / dtype, case, dtype=dtype)), exact, steps=STEPS))
        for dtype in DTYPES
    }
    assert cosines(states["F32"], case).min() > 0.99999
    # The values are exact in every type, so the states are too.
    for dtype in DTYPES[1:]:
        assert states[dtype].tobytes() == states["F32"].tobytes()


@pytest.mark.parametrize("case", CASES)
def test_states_match_transformers_on_torch(
    case: str, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("torch") is None:
        unavailable("torch is not installed: pip install 'umekomi[gpu]'")
    monkeypatch.setitem(BACKENDS, "cpu", BACKENDS["cuda"])
    checkpoint = read(make_model(tmp_path / "m", case))
    backend = build_backend(checkpoint, replace(settings, precision="fp32"), steps=STEPS)
    assert cosines(compute(backend), case).min() > 0.99999
    half = build_backend(checkpoint, replace(settings, precision="bf16"), steps=STEPS)
    assert cosines(compute(half), case).min() > 0.99


@pytest.mark.parametrize("case", ["modernbert", "gemma3_text", "mistral", "deberta-v2", "t5"])
def test_a_text_has_the_same_bytes_in_every_batch(case: str, tmp_path: Path, settings: Settings) -> None:
    backend = build_backend(
        read(make_model(tmp_path / "m", case)), replace(settings, precision="fp32"), steps=(*STEPS, Normalize())
    )
    random = np.random.default_rng(8)
    ids = random.integers(0, N_WORDS, (9, 40), dtype=np.int32)
    lengths = random.integers(37, 41, 9).astype(np.int32)

    def run(rows: list[int]) -> np.ndarray:
        inputs = (ids[rows], lengths[rows], np.zeros(len(rows), dtype=np.int32))
        return next(iter(backend.run([(rows, inputs)])))[1]

    alone = np.concatenate([run([row]) for row in range(9)])
    assert run([*range(9)]).tobytes() == alone.tobytes()
    assert run([8, 3]).tobytes() == alone[[8, 3]].tobytes()


OLDER: dict[str, tuple[dict[str, object], list[str]]] = {
    "modernbert": (
        {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0},
        ["layer_types", "rope_parameters"],
    ),
    "gemma3_text": (
        {"sliding_window_pattern": 2, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "rope_scaling": None},
        ["layer_types", "rope_parameters"],
    ),
    "qwen3": ({"rope_theta": 10000.0, "rope_scaling": None}, ["layer_types", "rope_parameters"]),
    "qwen2, window": ({"rope_theta": 10000.0}, ["layer_types", "rope_parameters"]),
    "llama, scaled": (
        {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        ["rope_parameters"],
    ),
    "nomic_bert": (
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "n_positions": 256, "layer_norm_epsilon": 1e-12}
        | {"activation_function": "swiglu", "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "prenorm": False},
        ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings",
         "layer_norm_eps", "hidden_act", "rope_parameters"],
    ),
    "jina_embeddings_v3": (
        {"rotary_emb_base": 20000.0, "position_embedding_type": "rotary", "use_flash_attn": True},
        ["rope_parameters"],
    ),
    "deberta-v2": ({"pos_att_type": "p2c|c2p"}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", OLDER)
def test_older_names_of_settings_mean_the_same(case: str, tmp_path: Path) -> None:
    added, removed = OLDER[case]
    folder = make_model(tmp_path / "m", case)
    expected = read(folder).config
    description = json.loads((folder / "config.json").read_text())
    for key in removed:
        del description[key]
    (folder / "config.json").write_text(json.dumps(description | added))
    assert read(folder).config == expected


@pytest.mark.parametrize(
    ("case", "changed", "message"),
    [
        ("bert", {"use_magic": 3}, "the key 'use_magic' .3"),
        ("bert", {"position_embedding_type": "relative_key"}, "relative_key.*supports .absolute"),
        ("bert", {"is_decoder": True}, "'is_decoder' is true"),
        ("bert", {"quantization_config": {"bits": 4}}, "'quantization_config'.*supports null"),
        ("bert", {"num_attention_heads": 5}, "shape 32 × 32"),
        ("bert", {"num_attention_heads": "4"}, "'num_attention_heads' is \"4\".*expects a number"),
        ("bert", {"hidden_act": "step"}, "Unknown activation 'step'"),
        ("roberta", {"pad_token_id": None}, "'pad_token_id' is null"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}},
            "supports default, linear, llama3, yarn",
        ),
        (
            "llama",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "'partial_rotary_factor' is 0.5",
        ),
        ("llama", {"num_key_value_heads": 3}, "do not fit"),
        ("llama", {"hidden_size": 48}, "shape 64 × 32, but its config.json needs any × 48"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "'attn_logit_softcapping' is 50.0"),
        ("gemma3_text", {"layer_types": ["full_attention"]}, "'layer_types'.*a list of 3"),
        ("modernbert", {"rope_scaling": {"type": "dynamic"}}, "'rope_scaling' is"),
        ("nomic_bert", {"num_experts": 8}, "the key 'num_experts' .8"),
        ("nomic_bert", {"rotary_emb_interleaved": True}, "'rotary_emb_interleaved' is true"),
        ("gte", {"layer_norm_type": "rms_norm"}, "'layer_norm_type' is \"rms_norm\""),
        ("deberta-v2", {"conv_kernel_size": 3}, "'conv_kernel_size' is 3"),
        ("deberta-v2", {"pos_att_type": ["c2p"]}, "'pos_att_type'"),
        ("t5", {"feed_forward_proj": "gated-tanh"}, "'feed_forward_proj' is \"gated-tanh\""),
        ("bert", {"model_type": "gpt2"}, "of type 'gpt2'; Umekomi supports bert, roberta"),
        ("bert", {"hidden_size": None}, "no 'hidden_size'"),
    ],
)
def test_settings_that_are_not_supported_are_rejected(
    case: str, changed: dict[str, object], message: str, tmp_path: Path, settings: Settings
) -> None:
    folder = make_model(tmp_path / "m", case, **changed)
    with pytest.raises(InputError, match=message):
        build_backend(read(folder), settings, steps=STEPS)


@pytest.mark.parametrize("content", ["[]", "{", "3"])
def test_a_config_that_is_not_an_object_is_rejected(content: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "bert")
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json (is not JSON|must contain an object)"):
        read(folder)


@pytest.mark.parametrize("case", ["bert", "modernbert", "qwen3", "t5", "albert", "deberta-v2"])
def test_weights_must_be_those_of_the_configuration(case: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", case)
    shapes = CASES[case]["shapes"]
    for name in sorted(shapes)[::3]:
        write_tensors(folder / "model.safetensors", {key: shapes[key] for key in shapes if key != name}, "F32")
        if not name.endswith("token_type_embeddings.weight"):  # which is optional
            with pytest.raises(InputError, match=r"have no tensor"):
                read(folder).read()
        write_tensors(folder / "model.safetensors", shapes | {name: [*shapes[name][:-1], shapes[name][-1] + 1]}, "F32")
        with pytest.raises(InputError, match=r"has the shape .* but its config\.json needs"):
            read(folder).read()


@pytest.mark.parametrize("layer", [0, 1])
def test_all_layers_have_the_same_biases(layer: int, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "modernbert, biases")
    shapes = dict(CASES["modernbert, biases"]["shapes"])
    del shapes[f"layers.{layer}.attn.Wo.bias"]
    write_tensors(folder / "model.safetensors", shapes, "F32")
    with pytest.raises(InputError, match=r"have no (tensor|bias like that of) 'layers\.1\.attn\.Wo"):
        read(folder).read()


def test_a_tensor_of_a_layer_that_nothing_uses_is_rejected(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "llama")
    shapes = CASES["llama"]["shapes"]
    write_tensors(folder / "model.safetensors", shapes | {"layers.1.self_attn.q_proj.lora_A.weight": [4, 32]}, "F32")
    with pytest.raises(InputError, match=r"a tensor 'layers\.1\.self_attn\.q_proj\.lora_A\.weight'"):
        read(folder).read()
    # Heads and buffers are not part of the layers.
    others = {
        "lm_head.weight": [64, 32],
        "layers.1.self_attn.rotary_emb.inv_freq": [4],
        "pooler.dense.weight": [32, 32],
    }
    write_tensors(folder / "model.safetensors", shapes | others, "F32")
    assert len(read(folder).read().layers) == 2
    assert set(others) < set(read(folder).tensors)


def test_names_may_have_a_prefix(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", "qwen3")
    expected = read(folder).read()
    tensors = load_file(folder / "model.safetensors")
    save_file({f"model.{name}": tensor for name, tensor in tensors.items()}, folder / "model.safetensors")
    words = read(folder).read().words
    assert isinstance(words, np.ndarray)
    assert (words == expected.words).all()


def test_an_adapter_is_added_to_the_weights(tmp_path: Path) -> None:
    folder = make_model(
        tmp_path / "m", "jina_embeddings_v3", lora_adaptations=["query", "passage"], lora_rank=2, lora_alpha=3
    )
    tensors = load_file(folder / "model.safetensors")
    random = np.random.default_rng(6)
    adapted = {"embeddings.word_embeddings": (64, 32), "encoder.layers.1.mlp.fc1": (48, 32)}
    left = {name: random.normal(size=(2, rows, 2)).astype(np.float32) for name, (rows, _) in adapted.items()}
    right = {name: random.normal(size=(2, 2, columns)).astype(np.float32) for name, (_, columns) in adapted.items()}
    stored = dict(tensors)
    for name in adapted:
        start = f"{name}.parametrizations.weight"
        stored[f"{start}.original"] = stored.pop(f"{name}.weight")
        # The factors of embeddings have swapped names.
        factors = (left[name], right[name]) if name.startswith("encoder") else (right[name], left[name])
        stored[f"{start}.0.lora_B"], stored[f"{start}.0.lora_A"] = factors
    save_file({f"roberta.{name}": tensor for name, tensor in stored.items()}, folder / "model.safetensors")

    def weights(adapter: str | None) -> list[np.ndarray]:
        transformer = read_safetensors(
            *(folder / file for file in ("model.safetensors", "config.json", "tokenizer.json")), adapter=adapter
        ).read()
        return [transformer.words, transformer.layers[1].mlp.up.weight]  # type: ignore[list-item]

    for adapter, index in ((None, None), ("query", 0), ("passage", 1)):
        for weight, name in zip(weights(adapter), adapted, strict=True):
            expected = tensors[f"{name}.weight"]
            if index is not None:
                expected = expected + 1.5 * left[name][index] @ right[name][index]
            assert weight == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="no adapter 'clustering'; it has query, passage"):
        weights("clustering")


def test_the_table_of_the_documentation_is_up_to_date() -> None:
    text = architecture_table.FILE.read_text("utf-8")
    assert (
        text.partition(architecture_table.START)[2].partition(architecture_table.END)[0] == architecture_table.table()
    )


@pytest.mark.parametrize("n_heads", [4, 6])
def test_linear_biases_match_a_plain_implementation(n_heads: int, tmp_path: Path, settings: Settings) -> None:
    # transformers has no such model, so this is written after the paper and the names of jina-embeddings-v2's tensors.
    settings_of_model = {
        "position_embedding_type": "alibi",
        "feed_forward_type": "geglu",
        "num_attention_heads": n_heads,
    }
    size = 8 * n_heads
    folder = make_model(tmp_path / "m", "bert", **settings_of_model, hidden_size=size)
    shapes = {}
    for name, shape in CASES["bert"]["shapes"].items():
        if "position_embeddings" not in name and "intermediate" not in name:
            name = name.replace(".output.dense", ".mlp.wo").replace(".output.LayerNorm", ".mlp.layernorm")
            name = name.replace("attention.mlp.wo", "attention.output.dense")
            name = name.replace("attention.mlp.layernorm", "attention.output.LayerNorm")
            shapes[name] = [size if n == 32 else n for n in shape]
    for layer in range(2):
        shapes[f"encoder.layer.{layer}.mlp.gated_layers.weight"] = [96, size]
    write_tensors(folder / "model.safetensors", shapes, "F32")
    weights = {name: generate(name, shape).astype(np.float64) for name, shape in shapes.items()}
    slopes = {4: [2**-2, 2**-4, 2**-6, 2**-8], 6: [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]}[n_heads]

    def linear(state: np.ndarray, name: str) -> np.ndarray:
        return state @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    def norm(state: np.ndarray, name: str) -> np.ndarray:
        centered = state - state.mean(-1, keepdims=True)
        normal = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-12)
        return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(state: np.ndarray) -> np.ndarray:
        return state.reshape(len(state), n_heads, 8).transpose(1, 0, 2)

    expected = []
    for ids in token_ids():
        state = (
            weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        state = norm(state, "embeddings.LayerNorm")
        for layer in range(2):
            start = f"encoder.layer.{layer}."
            query, key, value = (
                heads(linear(state, f"{start}attention.self.{name}")) for name in ("query", "key", "value")
            )
            distances = np.abs(np.arange(len(ids))[:, None] - np.arange(len(ids)))
            scores = query @ key.transpose(0, 2, 1) / 8**0.5 - np.array(slopes)[:, None, None] * distances
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            context = (shares / shares.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(ids), size)
            state = norm(
                state + linear(context, f"{start}attention.output.dense"), f"{start}attention.output.LayerNorm"
            )
            gate, up = np.split(linear(state, f"{start}mlp.gated_layers"), 2, axis=-1)
            gelu = gate * np.vectorize(lambda number: 0.5 * (1 + math.erf(number / 2**0.5)))(gate)
            state = norm(state + linear(gelu * up, f"{start}mlp.wo"), f"{start}mlp.layernorm")
        expected.append([state[0], state.mean(0), state[-1]])
    backend = build_backend(read(folder), replace(settings, precision="fp32"), steps=STEPS)
    states = compute(backend)
    norms = np.linalg.norm(states, axis=2) * np.linalg.norm(expected, axis=2)
    assert ((states * np.array(expected)).sum(axis=2) / norms).min() > 0.99999


# Settings of models on the hub, written down without access to it, and what they mean.
PUBLISHED: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "nomic-embed-text-v1.5": (
        {
            "model_type": "nomic_bert", "activation_function": "swiglu", "attn_pdrop": 0.0, "causal": False, "embd_pdrop": 0.0,
            "dense_seq_output": True, "fused_bias_fc": True, "fused_dropout_add_ln": True, "layer_norm_epsilon": 1e-12,
            "max_trained_positions": 2048, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "n_embd": 768, "n_head": 12,
            "n_inner": 3072, "n_layer": 12, "n_positions": 8192, "pad_vocab_size_multiple": 64, "parallel_block": False,
            "parallel_block_tied_norm": False, "prenorm": False, "qkv_proj_bias": False, "reorder_and_upcast_attn": False,
            "resid_pdrop": 0.0, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False,
            "rotary_emb_scale_base": None, "rotary_scaling_factor": None, "scale_attn_by_inverse_layer_idx": False,
            "scale_attn_weights": True, "summary_activation": None, "summary_first_dropout": 0.0, "summary_type": "cls_index",
            "summary_proj_to_labels": True, "summary_use_proj": True, "type_vocab_size": 2, "use_cache": True,
            "use_flash_attn": True, "use_rms_norm": False, "use_xentropy": True, "vocab_size": 30528,
        },
        {"hidden": 768, "layers": 12, "activation": "silu", "positions": 8192, "ropes": (Rope(1000.0),) * 12},
    ),
    "gte-multilingual-base": (
        {
            "model_type": "new", "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0, "hidden_act": "gelu",
            "hidden_size": 768, "id2label": {"0": "LABEL_0"}, "intermediate_size": 3072, "label2id": {"LABEL_0": 0},
            "layer_norm_eps": 1e-12, "layer_norm_type": "layer_norm", "logn_attention_clip1": False,
            "logn_attention_scale": False, "max_position_embeddings": 8192, "num_attention_heads": 12,
            "num_hidden_layers": 12, "pack_qkv": True, "pad_token_id": 1, "position_embedding_type": "rope",
            "rope_scaling": {"factor": 8.0, "type": "ntk"}, "rope_theta": 20000, "type_vocab_size": 1,
            "unpad_inputs": False, "use_memory_efficient_attention": False, "vocab_size": 250048,
        },
        {"ropes": (Rope(160_000.0, 8 ** (2 / 64)),) * 12},
    ),
    "Qwen3-Embedding-0.6B": (
        {
            "model_type": "qwen3", "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 151643,
            "eos_token_id": 151643, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "intermediate_size": 3072,
            "max_position_embeddings": 32768, "max_window_layers": 28, "num_attention_heads": 16, "num_hidden_layers": 28,
            "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
            "sliding_window": None, "tie_word_embeddings": True, "use_cache": True, "use_sliding_window": False,
            "vocab_size": 151669,
        },
        {"size": 128, "groups": 8, "causal": True, "reaches": (None,) * 28, "ropes": (Rope(1e6),) * 28},
    ),
    "embeddinggemma-300m": (
        {
            "model_type": "gemma3_text", "_sliding_window_pattern": 6, "attention_bias": False, "attention_dropout": 0.0,
            "attn_logit_softcapping": None, "final_logit_softcapping": None, "head_dim": 256, "hidden_size": 768,
            "hidden_activation": "gelu_pytorch_tanh", "intermediate_size": 1152, "max_position_embeddings": 2048,
            "num_attention_heads": 3, "num_hidden_layers": 24, "num_key_value_heads": 1, "query_pre_attn_scalar": 256,
            "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000.0, "rope_scaling": None, "rope_theta": 1000000.0,
            "sliding_window": 512, "use_bidirectional_attention": True, "use_cache": True, "vocab_size": 262144,
        },
        {"causal": False, "reaches": (256, 256, 256, 256, 256, None) * 4, "scale": 1 / 16, "word_scale": 768**0.5},
    ),
    "ModernBERT-base": (
        {
            "model_type": "modernbert", "attention_bias": False, "classifier_pooling": "mean", "decoder_bias": True,
            "deterministic_flash_attn": False, "embedding_dropout": 0.0, "global_attn_every_n_layers": 3,
            "global_rope_theta": 160000.0, "gradient_checkpointing": False, "hidden_activation": "gelu", "hidden_size": 768,
            "initializer_cutoff_factor": 2.0, "intermediate_size": 1152, "layer_norm_eps": 1e-05, "local_attention": 128,
            "local_rope_theta": 10000.0, "max_position_embeddings": 8192, "mlp_bias": False, "mlp_dropout": 0.0,
            "norm_bias": False, "norm_eps": 1e-05, "num_attention_heads": 12, "num_hidden_layers": 22,
            "position_embedding_type": "absolute", "reference_compile": None, "repad_logits_with_grad": False,
            "sparse_pred_ignore_index": -100, "sparse_prediction": False, "vocab_size": 50368,
        },
        {"eps": 1e-5, "reaches": ((None, 64, 64) * 8)[:22], "ropes": ((Rope(160_000.0), *[Rope(1e4)] * 2) * 8)[:22]},
    ),
    "jina-embeddings-v3": (
        {
            "model_type": "xlm-roberta", "emb_pooler": None, "hidden_act": "gelu", "hidden_size": 1024,
            "intermediate_size": 4096, "layer_norm_eps": 1e-05, "load_trained_adapters": True, "lora_alpha": 1,
            "lora_adaptations": ["retrieval.query", "retrieval.passage"], "lora_dropout_p": 0.0, "lora_rank": 4,
            "lora_main_params_trainable": False, "matryoshka_dimensions": [32, 64], "max_position_embeddings": 8194,
            "num_attention_heads": 16, "num_hidden_layers": 24, "output_past": True, "pad_token_id": 1,
            "position_embedding_type": "rotary", "rotary_emb_base": 20000.0, "task_instructions": {"separation": ""},
            "truncate_dim": None, "type_vocab_size": 1, "use_flash_attn": True, "use_reentrant": False,
            "vocab_size": 250002,
        },
        {"first_position": 0, "positions": 8194, "ropes": (Rope(20_000.0),) * 24},
    ),
    "sentence-t5-base": (
        {
            "model_type": "t5", "d_ff": 3072, "d_kv": 64, "d_model": 768, "dropout_rate": 0.1, "feed_forward_proj": "relu",
            "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "n_positions": 512, "num_decoder_layers": 12,
            "num_heads": 12, "num_layers": 12, "output_past": True, "relative_attention_num_buckets": 32,
            "task_specific_params": {"summarization": {}}, "vocab_size": 32128,
        },
        {"positions": 0, "scale": 1.0, "activation": "relu"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_configurations_of_published_models_are_read(name: str) -> None:
    description, expected = PUBLISHED[name]
    config = read_config(description, find_architecture(description, name=name).keys, name=name)
    actual = {key: getattr(config, key) for key in expected}
    assert actual == expected
