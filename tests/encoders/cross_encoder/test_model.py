"""Cross-encoders: every model type matches sentence-transformers, and other folders are rejected."""

import json
import lzma
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, processors

from umekomi import Reranker
from umekomi.errors import InputError, UmekomiError
from umekomi.settings import Settings

from ..transformer.tiny import make_folder as make_embedding_model
from .tiny import (
    CARD_WINDOW,
    CONFIGS,
    EXPORTS,
    LONG,
    PAIRS,
    TEMPLATE,
    load_golden,
    make_export,
    make_folder,
    make_language_model,
)

GOLDEN = load_golden()


@pytest.mark.parametrize("model_type", CONFIGS)
def test_scores_match_sentence_transformers(model_type: str, tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "model", model_type, GOLDEN[model_type])
    scores = Reranker(str(folder), settings=settings).score(PAIRS)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(np.array(GOLDEN[model_type]["scores"]), abs=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "6.2.0"}},
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
    ],
)
def test_the_folder_names_the_activation(config: dict[str, object], tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "model", "bert", GOLDEN["bert"], **config)
    scores = Reranker(str(folder), settings=settings).score(PAIRS)
    assert scores == pytest.approx(np.array(GOLDEN["bert"]["logits"]), abs=1e-5)


def test_code_of_the_model_is_never_the_activation(tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "model", "bert", GOLDEN["bert"], activation="evil.module.Function")
    assert Reranker(str(folder), settings=settings).score(PAIRS) == pytest.approx(
        np.array(GOLDEN["bert"]["scores"]), abs=1e-5
    )


def test_a_folder_saved_by_cross_encoder_has_its_own_configuration(tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "model", "roberta", GOLDEN["roberta"])
    (folder / "modules.json").write_text(
        '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}]'
    )
    own = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity", "__version__": {}}
    own |= {"prompts": {"question": "query : "}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
    plain = Reranker(str(folder), settings=settings)
    assert plain.score(PAIRS) == pytest.approx(np.array(GOLDEN["roberta"]["logits"]), abs=1e-5)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({**own, "default_prompt_name": "question"}))
    prompted = Reranker(str(folder), settings=settings)
    assert prompted.score([("one", "two")]) == plain.score([("query : one", "two")])
    (folder / "config_sentence_transformers.json").write_text(json.dumps({**own, "surprise": 1}))
    with pytest.raises(InputError, match="unknown setting 'surprise'"):
        Reranker(str(folder), settings=settings)


def test_deberta_can_distinguish_the_texts_of_a_pair(tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "model", "deberta-v2", GOLDEN["deberta-v2"], type_vocab_size=2)
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    settings_file = folder / "tokenizer_config.json"
    settings_file.write_text(json.dumps({**json.loads(settings_file.read_text()), "model_input_names": inputs}))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    tensors = load_file(folder / "model.safetensors")
    n_columns = tensors["deberta.embeddings.word_embeddings.weight"].shape[1]

    def score(second: float) -> float:
        table = np.outer([0, second], np.arange(n_columns)).astype(np.float32)
        save_file({**tensors, "deberta.embeddings.token_type_embeddings.weight": table}, folder / "model.safetensors")
        return float(Reranker(str(folder), settings=settings).score([("one two", "three")])[0])

    assert abs(score(0) - score(0.1)) > 1e-4


def test_a_pair_has_the_same_bytes_among_other_pairs(tmp_path: Path, settings: Settings) -> None:
    reranker = Reranker(str(make_folder(tmp_path / "model", "bert", GOLDEN["bert"])), settings=settings)
    alone = {pair: reranker.score([pair]).tobytes() for pair in PAIRS}
    source = random.Random(5)
    for _ in range(8):
        pairs = source.choices(PAIRS, k=source.randint(2, 40))
        assert [score.tobytes() for score in reranker.score(pairs)] == [alone[pair] for pair in pairs]


def test_max_length_shortens_the_window(tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "model", "bert", GOLDEN["bert"])
    short = Reranker(str(folder), max_length=12, settings=settings)
    assert short.max_length == 12
    assert short.score([("one two", "three " * 9)]) == short.score([("one two", "three " * 7)])
    assert Reranker(str(folder), max_length=1000, settings=settings).max_length == 48
    with pytest.raises(InputError, match="max_length is 3; it must be at least 8"):
        Reranker(str(folder), max_length=3, settings=settings)


def test_folders_that_are_not_rerankers_are_rejected_with_the_reason(tmp_path: Path, settings: Settings) -> None:
    def assert_rejected(folder: Path, match: str) -> None:
        with pytest.raises(InputError, match=match):
            Reranker(str(folder), settings=settings)

    assert_rejected(make_embedding_model(tmp_path / "embedding", "bert"), "not a cross-encoder but an embedding model")
    bert = GOLDEN["bert"]
    architectures = {"architectures": ["BertForMaskedLM"]}
    assert_rejected(
        make_folder(tmp_path / "mlm", "bert", bert, **architectures), "its architecture is BertForMaskedLM, not …For"
    )
    assert_rejected(make_folder(tmp_path / "none", "bert", bert, architectures=None), "its architecture is not given")
    folder = make_folder(tmp_path / "labels", "bert", bert)
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "classifier.weight": np.zeros((3, 32), np.float32)}, folder / "model.safetensors")
    assert_rejected(folder, "has 3 labels, so it is a classifier")
    save_file({k: v for k, v in tensors.items() if k != "classifier.weight"}, folder / "model.safetensors")
    assert_rejected(folder, r"no tensor 'classifier\.weight', which its head needs")
    softmax = make_folder(tmp_path / "softmax", "bert", bert, activation="torch.nn.modules.activation.Softmax")
    assert_rejected(softmax, "activation 'Softmax'; Umekomi supports Sigmoid and Identity")
    folder = make_folder(tmp_path / "tokenizer", "bert", bert)
    (folder / "tokenizer.json").unlink()
    assert_rejected(folder, r"has no tokenizer\.json")
    assert_rejected(tmp_path / "missing", "There is no folder")
    assert_rejected(tmp_path, r"has no config\.json")
    with pytest.raises(InputError, match="umekomi-fake is not a reranker"):
        Reranker("umekomi-fake", settings=settings)


@pytest.mark.parametrize("modules", ["{}", "[]", "[1]", '[{"idx": 0}]', '[{"type": "my.Transformer", "path": ".."}]'])
def test_damaged_lists_of_modules_are_an_error(modules: str, tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "model", "bert", GOLDEN["bert"])
    (folder / "modules.json").write_text(modules)
    with pytest.raises(InputError, match="module"):
        Reranker(str(folder), settings=settings)


def test_damaged_weights_are_an_error(tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "model", "bert", GOLDEN["bert"])
    tensors = load_file(folder / "model.safetensors")
    # Weights of the head. Those of the transformer are checked when they are read.
    damaged = {name: tensor * np.nan for name, tensor in tensors.items() if name.startswith("classifier")}
    save_file(tensors | damaged, folder / "model.safetensors")
    reranker = Reranker(str(folder), settings=settings)
    with pytest.raises(UmekomiError, match="not a finite number, so its weights are damaged"):
        reranker.score(PAIRS)


@pytest.mark.parametrize("model_type", EXPORTS)
def test_onnx_files_have_the_same_scores(model_type: str, tmp_path: Path, settings: Settings) -> None:
    folder = make_export(tmp_path / "model", model_type)
    scores = Reranker(str(folder), settings=settings).score(PAIRS)
    assert scores == pytest.approx(np.array(GOLDEN[f"{model_type}.onnx"]["scores"]), abs=1e-5)


def test_an_onnx_file_is_used_beside_safetensors_if_it_is_named(tmp_path: Path, settings: Settings) -> None:
    folder = make_export(tmp_path / "model", "bert")
    (folder / "model.safetensors").write_bytes(b"never opened")
    scores = Reranker(f"{folder},file=onnx/model.onnx", settings=settings).score(PAIRS)
    assert scores == pytest.approx(np.array(GOLDEN["bert.onnx"]["scores"]), abs=1e-5)


def test_an_onnx_file_without_a_head_is_rejected(tmp_path: Path, settings: Settings) -> None:
    folder = make_export(tmp_path / "model", "bert")
    states = Path(__file__).parents[1] / "transformer" / "folder" / "exports" / "bert.onnx.xz"
    (folder / "onnx" / "model.onnx").write_bytes(lzma.decompress(states.read_bytes()))
    with pytest.raises(InputError, match="not a cross-encoder: it returns 16 numbers per token instead of one score"):
        Reranker(str(folder), settings=settings)


@pytest.mark.parametrize(("name", "saved"), [("plain", False), ("saved", True)])
def test_a_language_model_is_asked_for_yes_or_no(name: str, saved: bool, tmp_path: Path, settings: Settings) -> None:
    folder = make_language_model(tmp_path / "model", GOLDEN["answers"], template=TEMPLATE, saved=saved)
    scores = Reranker(str(folder), settings=settings).score(PAIRS)
    assert scores == pytest.approx(np.array(GOLDEN["answers"][name]), abs=1e-5)


@pytest.mark.parametrize("template", [None, "{% for message in messages %}{{ message.content }}{% endfor %}"])
def test_a_qwen3_without_a_template_for_pairs_has_the_prompt_of_its_model_card(
    template: str | None, tmp_path: Path, settings: Settings
) -> None:
    folder = make_language_model(tmp_path / "model", GOLDEN["answers"], template=template, window=CARD_WINDOW)
    scores = Reranker(str(folder), settings=settings).score(PAIRS)
    assert scores == pytest.approx(np.array(GOLDEN["answers"]["card"]), abs=1e-5)


def test_a_long_document_is_split_into_several_prompts(tmp_path: Path, settings: Settings) -> None:
    folder = make_language_model(tmp_path / "model", GOLDEN["answers"], template=TEMPLATE)
    reranker = Reranker(str(folder), max_passages=5, settings=settings)
    words = LONG.split()
    # The window has 48 tokens: five of them are the template's, and one is the query.
    size = reranker.max_length - len(["one", "two", ":", "three", "four", "five"]) - 1
    passages = [" ".join(words[start : start + size]) for start in range(0, len(words), size)]
    assert len(passages) == 2
    prepared = reranker.prepare("one", [LONG, "two"])
    assert prepared.n_passages == (2, 1)
    assert prepared.texts[:2] == reranker.prepare("one", passages).texts
    assert reranker.score([("one", LONG)])[0] == max(reranker.score([("one", passage) for passage in passages]))


def test_unusable_chat_templates_are_rejected(tmp_path: Path, settings: Settings) -> None:
    def assert_rejected(template: str, match: str) -> None:
        folder = make_language_model(tmp_path / str(len(template)), GOLDEN["answers"], template=template)
        with pytest.raises(InputError, match=match):
            Reranker(str(folder), settings=settings)

    program = '{% set x = "query" %}{{ x }}'
    assert_rejected(program, "has a chat template with statements")
    assert_rejected(TEMPLATE.replace("first }}", "last }}"), "which Umekomi does not support")
    assert_rejected(TEMPLATE.replace('"document"', '"query"'), "without the messages of a query and a document")
