"""The supported architectures as data: one row with the names of their tensors and the keys of their ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ....errors import InputError
from .config import ConfigKeys
from .config_rules import (
    adjust_albert,
    adjust_alibi,
    adjust_deberta,
    adjust_gemma,
    adjust_t5,
    read_gemma_reaches,
    read_mistral_reaches,
    read_modernbert_reaches,
    read_qwen_reaches,
)
from .rope import RopeKeys
from .structure import NormType


@dataclass(frozen=True, slots=True)
class NormNames:
    """Names of the normalizations around attention or a feed-forward network, as in :class:`~.structure.Norms`."""

    before: str = ""
    result: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How the tensors of an architecture are named, and what they are for. Names are without ``.weight`` and ``.bias``."""

    keys: ConfigKeys
    #: Prefixes of all names in the files of some models.
    prefixes: tuple[str, ...]
    #: Names of the word embeddings. The first one that exists is used.
    words: tuple[str, ...]
    #: Start of a layer's names. ``{}`` is its number; or ``{group}`` and ``{member}`` if layers share their weights.
    layer: str
    output: str
    down: str
    attention_norms: NormNames
    mlp_norms: NormNames
    #: Either three matrices, or one with the rows of the three in this order.
    query: str = ""
    key: str = ""
    value: str = ""
    fused: str = ""
    query_norm: str = ""
    key_norm: str = ""
    up: str = ""
    gate: str = ""
    #: One matrix with the rows of both; the first half is the gate's if ``gate_first``.
    gate_and_up: str = ""
    gate_first: bool = True
    positions: str = ""
    segments: str = ""
    embedding_norm: str = ""
    projection: str = ""
    final_norm: str = ""
    #: Table of T5 and MPNet that is added to the scores by the distance of two tokens.
    distance_bias: str = ""
    #: Table of DeBERTa's relative positions, and its normalization.
    relative: str = ""
    relative_norm: str = ""
    norm: NormType = NormType.LAYER
    #: Added to the weights of the RMS normalizations.
    norm_offset: float = 0.0
    #: Whether every product and normalization has a bias. Otherwise the files tell, in the same way for all layers.
    biases: bool = False
    #: Whether the first layer has no normalization before its attention, because the embeddings are normalized.
    normalized_embeddings: bool = False
    #: Fields of this row whose tensors a model may lack.
    optional: frozenset[str] = field(default_factory=frozenset)


_BERT = Architecture(
    keys=ConfigKeys(fixed={"position_embedding_type": ("absolute",)}, harmless="intermediate_size"),
    prefixes=("bert.",),
    words=("embeddings.word_embeddings",),
    positions="embeddings.position_embeddings",
    segments="embeddings.token_type_embeddings",
    embedding_norm="embeddings.LayerNorm",
    layer="encoder.layer.{}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    output="attention.output.dense",
    attention_norms=NormNames(after="attention.output.LayerNorm"),
    up="intermediate.dense",
    down="output.dense",
    mlp_norms=NormNames(after="output.LayerNorm"),
    biases=True,
)
_ROBERTA = replace(_BERT, keys=replace(_BERT.keys, padded_positions=True), prefixes=("roberta.", "camembert."))
_LLAMA = Architecture(
    keys=ConfigKeys(
        key_heads=("num_key_value_heads",),
        head_size=("head_dim",),
        eps=("rms_norm_eps",),
        default_eps=1e-6,
        default_activation="silu",
        rope=RopeKeys(),
        causal=True,
        fixed={"use_mrope": (False,)},
        harmless="intermediate_size attention_bias mlp_bias pretraining_tp",
    ),
    prefixes=("model.",),
    words=("embed_tokens",),
    layer="layers.{}.",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    attention_norms=NormNames(before="input_layernorm"),
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
    mlp_norms=NormNames(before="post_attention_layernorm"),
    final_norm="norm",
    norm=NormType.RMS,
)
_QWEN2 = replace(
    _LLAMA,
    keys=replace(
        _LLAMA.keys,
        reaches=read_qwen_reaches,
        harmless=f"{_LLAMA.keys.harmless} sliding_window max_window_layers layer_types",
    ),
)
_GTE = Architecture(
    keys=ConfigKeys(
        rope=RopeKeys(extended=True),
        fixed={
            "position_embedding_type": ("rope",),
            "layer_norm_type": ("layer_norm",),
            "logn_attention_scale": (False,),
            "logn_attention_clip1": (False,),
        },
        harmless=(
            "intermediate_size pack_qkv unpad_inputs use_memory_efficient_attention "
            "attn_implementation logn_attention_clip1 logn_attention_scale"
        ),
    ),
    prefixes=("new.", "gte."),
    words=("embeddings.word_embeddings",),
    segments="embeddings.token_type_embeddings",
    embedding_norm="embeddings.LayerNorm",
    layer="encoder.layer.{}.",
    fused="attention.qkv_proj",
    output="attention.o_proj",
    attention_norms=NormNames(after="attn_ln"),
    gate_and_up="mlp.up_gate_proj",
    gate_first=False,
    down="mlp.down_proj",
    mlp_norms=NormNames(after="mlp_ln"),
)
_T5 = Architecture(
    keys=ConfigKeys(
        hidden=("d_model",),
        layers=("num_layers",),
        heads=("num_heads",),
        head_size=("d_kv",),
        eps=("layer_norm_epsilon",),
        default_eps=1e-6,
        activation=(),
        positions=(),
        adjust=adjust_t5,
        # Only the encoder is read.
        fixed={"is_encoder_decoder": (True, False)},
        harmless=(
            "d_ff dense_act_fn dropout_rate is_gated_act n_positions num_decoder_layers "
            "relative_attention_num_buckets scale_decoder_outputs tie_encoder_decoder"
        ),
    ),
    prefixes=(),
    words=("shared", "encoder.embed_tokens"),
    layer="encoder.block.{}.",
    query="layer.0.SelfAttention.q",
    key="layer.0.SelfAttention.k",
    value="layer.0.SelfAttention.v",
    output="layer.0.SelfAttention.o",
    attention_norms=NormNames(before="layer.0.layer_norm"),
    up="layer.1.DenseReluDense.wi",
    down="layer.1.DenseReluDense.wo",
    mlp_norms=NormNames(before="layer.1.layer_norm"),
    final_norm="encoder.final_layer_norm",
    distance_bias="encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    norm=NormType.RMS,
)
_GATED_T5 = replace(_T5, gate="layer.1.DenseReluDense.wi_0", up="layer.1.DenseReluDense.wi_1")

ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": replace(
        _ROBERTA,
        keys=replace(_ROBERTA.keys, harmless="intermediate_size relative_attention_num_buckets"),
        prefixes=("mpnet.",),
        segments="",
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        output="attention.attn.o",
        attention_norms=NormNames(after="attention.LayerNorm"),
        distance_bias="encoder.relative_attention_bias",
    ),
    "distilbert": replace(
        _BERT,
        keys=ConfigKeys(
            hidden=("dim",),
            layers=("n_layers",),
            heads=("n_heads",),
            eps=(),
            activation=("activation",),
            harmless="dropout hidden_dim qa_dropout seq_classif_dropout sinusoidal_pos_embds tie_weights_",
        ),
        prefixes=("distilbert.",),
        segments="",
        layer="transformer.layer.{}.",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        output="attention.out_lin",
        attention_norms=NormNames(after="sa_layer_norm"),
        up="ffn.lin1",
        down="ffn.lin2",
        mlp_norms=NormNames(after="output_layer_norm"),
    ),
    "electra": replace(
        _BERT,
        keys=replace(
            _BERT.keys,
            harmless=(
                f"{_BERT.keys.harmless} embedding_size generator_size summary_activation summary_last_dropout summary_type "
                "summary_use_proj"
            ),
        ),
        prefixes=("electra.",),
        projection="embeddings_project",
        optional=frozenset({"projection"}),
    ),
    "albert": replace(
        _BERT,
        keys=replace(
            _BERT.keys,
            default_activation="gelu_new",
            adjust=adjust_albert,
            harmless=f"{_BERT.keys.harmless} embedding_size down_scale_factor gap_size net_structure_type layers_to_keep",
        ),
        prefixes=("albert.",),
        projection="encoder.embedding_hidden_mapping_in",
        layer="encoder.albert_layer_groups.{group}.albert_layers.{member}.",
        query="attention.query",
        key="attention.key",
        value="attention.value",
        output="attention.dense",
        attention_norms=NormNames(after="attention.LayerNorm"),
        up="ffn",
        down="ffn_output",
        mlp_norms=NormNames(after="full_layer_layer_norm"),
    ),
    "deberta-v2": replace(
        _BERT,
        keys=replace(
            _BERT.keys,
            default_eps=1e-7,
            adjust=adjust_deberta,
            fixed={
                "share_att_key": (True,),
                "norm_rel_ebd": ("layer_norm",),
                "position_biased_input": (False,),
                "conv_kernel_size": (0,),
            },
            harmless=f"{_BERT.keys.harmless} legacy z_steps conv_act conv_groups",
        ),
        prefixes=("deberta.",),
        positions="",
        query="attention.self.query_proj",
        key="attention.self.key_proj",
        value="attention.self.value_proj",
        relative="encoder.rel_embeddings",
        relative_norm="encoder.LayerNorm",
    ),
    "modernbert": Architecture(
        keys=ConfigKeys(
            eps=("norm_eps",),
            default_eps=1e-5,
            activation=("hidden_activation",),
            rope=RopeKeys(full=("global_rope_theta",), sliding=("local_rope_theta",), default=160_000.0),
            reaches=read_modernbert_reaches,
            fixed={"rope_scaling": ()},
            harmless=(
                "attention_bias decoder_bias deterministic_flash_attn embedding_dropout initializer_cutoff_factor "
                "intermediate_size layer_norm_eps mlp_bias mlp_dropout norm_bias position_embedding_type "
                "reference_compile repad_logits_with_grad sparse_pred_ignore_index sparse_prediction"
            ),
        ),
        prefixes=("model.",),
        words=("embeddings.tok_embeddings",),
        embedding_norm="embeddings.norm",
        layer="layers.{}.",
        fused="attn.Wqkv",
        output="attn.Wo",
        attention_norms=NormNames(before="attn_norm"),
        gate_and_up="mlp.Wi",
        down="mlp.Wo",
        mlp_norms=NormNames(before="mlp_norm"),
        final_norm="final_norm",
        normalized_embeddings=True,
    ),
    "nomic_bert": Architecture(
        keys=ConfigKeys(
            hidden=("hidden_size", "n_embd"),
            layers=("num_hidden_layers", "n_layer"),
            heads=("num_attention_heads", "n_head"),
            head_size=("head_dim",),
            eps=("layer_norm_eps", "layer_norm_epsilon"),
            # The gated network is named for its function in older files.
            activation=("hidden_act",),
            default_activation="silu",
            positions=("max_position_embeddings", "n_positions"),
            rope=RopeKeys(full=("rotary_emb_base",), default=1000.0),
            fixed={
                "activation_function": ("swiglu",),
                "causal": (False,),
                "parallel_block": (False,),
                "parallel_block_tied_norm": (False,),
                "prenorm": (False,),
                "rotary_emb_fraction": (1,),
                "rotary_emb_interleaved": (False,),
                "rotary_emb_scale_base": (),
                "rotary_scaling_factor": (),
                "scale_attn_by_inverse_layer_idx": (False,),
                "scale_attn_weights": (True,),
                "use_rms_norm": (False,),
            },
            harmless=(
                "attn_pdrop dense_seq_output embd_pdrop fused_bias_fc fused_dropout_add_ln intermediate_size "
                "last_layer_subset max_trained_positions mlp_fc1_bias mlp_fc2_bias n_inner pad_vocab_size_multiple "
                "qkv_proj_bias reorder_and_upcast_attn resid_pdrop summary_activation summary_first_dropout "
                "summary_proj_to_labels summary_type summary_use_proj use_flash_attn use_xentropy"
            ),
        ),
        prefixes=("nomic_bert.", "bert."),
        words=("embeddings.word_embeddings",),
        segments="embeddings.token_type_embeddings",
        embedding_norm="emb_ln",
        layer="encoder.layers.{}.",
        fused="attn.Wqkv",
        output="attn.out_proj",
        attention_norms=NormNames(after="norm1"),
        gate="mlp.fc12",
        up="mlp.fc11",
        down="mlp.fc2",
        mlp_norms=NormNames(after="norm2"),
    ),
    "gte": replace(_GTE, keys=replace(_GTE.keys, rope=RopeKeys(default=160_000.0, extended=True))),
    "new": _GTE,
    "jina_embeddings_v3": Architecture(
        keys=ConfigKeys(
            default_eps=1e-5,
            rope=RopeKeys(full=("rotary_emb_base",), default=20_000.0),
            fixed={"position_embedding_type": ("rotary",)},
            harmless=(
                "emb_pooler intermediate_size load_trained_adapters lora_adaptations lora_alpha lora_dropout_p "
                "lora_main_params_trainable lora_rank task_instructions use_flash_attn use_reentrant"
            ),
        ),
        prefixes=("roberta.",),
        words=("embeddings.word_embeddings",),
        segments="embeddings.token_type_embeddings",
        embedding_norm="emb_ln",
        layer="encoder.layers.{}.",
        fused="mixer.Wqkv",
        output="mixer.out_proj",
        attention_norms=NormNames(after="norm1"),
        up="mlp.fc1",
        down="mlp.fc2",
        mlp_norms=NormNames(after="norm2"),
        biases=True,
    ),
    "jina_bert_v2": replace(
        _BERT,
        keys=ConfigKeys(
            adjust=adjust_alibi,
            fixed={"position_embedding_type": ("alibi",), "feed_forward_type": ("geglu",)},
            harmless="intermediate_size attn_implementation emb_pooler",
        ),
        positions="",
        up="",
        gate_and_up="mlp.gated_layers",
        down="mlp.wo",
        mlp_norms=NormNames(after="mlp.layernorm"),
        # All but the gated product have one.
        biases=False,
    ),
    "llama": _LLAMA,
    "mistral": replace(_LLAMA, keys=replace(_LLAMA.keys, reaches=read_mistral_reaches)),
    "qwen2": _QWEN2,
    "qwen3": replace(_QWEN2, query_norm="self_attn.q_norm", key_norm="self_attn.k_norm"),
    "eurobert": replace(
        _LLAMA,
        keys=replace(
            _LLAMA.keys,
            default_eps=1e-5,
            rope=RopeKeys(default=250_000.0),
            causal=False,
            fixed={},
            harmless=f"{_LLAMA.keys.harmless} clf_pooling",
        ),
    ),
    "gemma3_text": replace(
        _LLAMA,
        keys=replace(
            _LLAMA.keys,
            activation=("hidden_activation",),
            default_activation="gelu_pytorch_tanh",
            rope=RopeKeys(sliding=("rope_local_base_freq",), default=1_000_000.0),
            reaches=read_gemma_reaches,
            adjust=adjust_gemma,
            fixed={"attn_logit_softcapping": ()},
            harmless=f"{_LLAMA.keys.harmless} cache_implementation final_logit_softcapping",
        ),
        query_norm="self_attn.q_norm",
        key_norm="self_attn.k_norm",
        attention_norms=NormNames(before="input_layernorm", result="post_attention_layernorm"),
        mlp_norms=NormNames(before="pre_feedforward_layernorm", result="post_feedforward_layernorm"),
        norm_offset=1.0,
    ),
    "t5": _T5,
    "mt5": _T5,
}
"""Supported architectures, as named by ``model_type`` in ``config.json``; two of Jina's models have the types of others there."""

_RENAMED = {("xlm-roberta", "rotary"): "jina_embeddings_v3", ("bert", "alibi"): "jina_bert_v2"}
"""The rows for a ``model_type`` with a ``position_embedding_type``."""


def find_architecture(description: Mapping[str, Any], *, name: str) -> Architecture:
    """Return the architecture of a ``config.json``.

    Raises:
        InputError: Umekomi does not support it.
    """
    family = str(description.get("model_type", "?"))
    family = _RENAMED.get((family, str(description.get("position_embedding_type"))), family)
    if family not in ARCHITECTURES:
        raise InputError(f"{name} is a model of type {family!r}; Umekomi supports {', '.join(ARCHITECTURES)}.")
    if str(description.get("feed_forward_proj")).startswith("gated-"):
        return _GATED_T5
    return ARCHITECTURES[family]
