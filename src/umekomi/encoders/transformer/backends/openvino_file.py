"""ONNX files and OpenVINO's own files as part of a graph.

OpenVINO reads both formats. The inputs of the file are replaced by nodes that are computed from this project's inputs, so a file
gets the same batches as a graph that is built from tensors, and the same steps after its last layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....errors import InputError
from ..folder.graph_file import GraphConfig, GraphFile
from ..steps import Step
from .openvino_import import FrontEndManager, Node, op, ov
from .openvino_nodes import ints
from .openvino_steps import GraphInputs, finish_graph

STATES = ("last_hidden_state", "token_embeddings")
"""Names of outputs with one vector per token."""
POOLED = ("sentence_embedding", "sentence_embeddings")
"""Names of outputs with one vector per text, which are used if there are no token states."""


def inspect(path: Path, name: str) -> tuple[str, bool, int, int]:
    """Read a file and return its number of weights after facts about the output that is used.

    These are its name, whether it has one vector per text, and its dimensions.

    Raises:
        InputError: The file is damaged, or has inputs or outputs that Umekomi does not support.
    """
    model = read_graph(path, name)
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    n_weights = sum(math.prod(node.get_output_shape(0)) for node in constants if len(node.get_output_shape(0)) > 0)
    return *_find_output(model, name), n_weights


def read_graph(path: Path, name: str) -> ov.Model:
    """Read a file and check its inputs.

    Raises:
        InputError: The file is damaged, or has inputs that Umekomi has no values for, or inputs of a fixed size.
    """
    # Not Core.read_model, which tries the formats of all other frameworks if the content does not match the suffix.
    frontend = FrontEndManager().load_by_framework("ir" if path.suffix == ".xml" else "onnx")
    try:
        model = frontend.convert(frontend.load(str(path)))
    except Exception as error:  # each frontend raises its own errors
        raise InputError(f"{name} cannot be read: {_summarize(error)}.", param="model") from error
    names = [_name(parameter) for parameter in model.get_parameters()]
    unknown = [name for name in names if name not in _INPUTS]
    if unknown or "input_ids" not in names:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        problem = (
            f"inputs that Umekomi has no values for: {', '.join(unknown[:3])}{more}" if unknown else "no input_ids"
        )
        raise InputError(f"{name} has {problem}. The supported inputs are {', '.join(_INPUTS)}.", param="model")
    for parameter in model.get_parameters():
        shape = parameter.get_partial_shape()
        if shape.rank.is_static and (len(shape) != 2 or any(size.is_static for size in shape)):
            raise InputError(
                f"{name} takes inputs of the fixed size {shape.to_string()}. Export it with dynamic batch and sequence "
                "lengths.",
                param="model",
            )
    return model


def _find_output(model: ov.Model, file: str) -> tuple[str, bool, int]:
    """Return token states if there are any, otherwise vectors of texts."""
    shapes = {name: output.get_partial_shape() for output in model.outputs for name in output.names}
    tokens = [name for name, shape in shapes.items() if shape.rank.is_dynamic or len(shape) == 3]
    texts = [name for name, shape in shapes.items() if shape.rank.is_static and len(shape) == 2]
    name = next((name for name in STATES if name in tokens), None) or next(
        (name for name in POOLED if name in texts), None
    )
    if name is None and len(shapes) == 1:
        # Exports name a single output in many ways.
        name = next(iter([*tokens, *texts]), None)
    if name is None:
        raise InputError(
            f"{file} has the outputs {', '.join(shapes) or 'of no name'}; Umekomi needs one of "
            f"{', '.join(STATES + POOLED)}, or a single output with a vector for each token or text.",
            param="model",
        )
    shape = shapes[name]
    if shape.rank.is_dynamic or shape[-1].is_dynamic:
        raise InputError(f"{file} does not say how many dimensions its output {name} has.", param="model")
    return name, name in texts, shape[-1].get_length()


def connect(
    model: ov.Model, config: GraphConfig, inputs: GraphInputs, *, segments: Node | None = None
) -> dict[str, ov.Output]:
    """Replace the inputs of a file's graph and return its outputs by name.

    Args:
        model: Result of :func:`read_graph`. It cannot be used afterwards.
        config: Facts about the model.
        inputs: New inputs.
        segments: Token types: ``(batch, length) int32``. By default all are 0.
    """
    sources = _Sources(inputs, config, segments)
    for parameter in model.get_parameters():
        value = _INPUTS[_name(parameter)](sources)
        parameter.output(0).replace(op.convert(value, parameter.get_element_type()).output(0))
    return {name: output.node.input_value(0) for output in model.outputs for name in output.names}


def build_file_graph(file: GraphFile, *, steps: Sequence[Step], has_segments: bool = False) -> ov.Model:
    """Build a graph from ids, lengths and starts to ``(batch, dims) float32``, like :func:`.openvino_graph.build_graph`."""
    inputs = GraphInputs.create(has_segments=has_segments)
    return finish_graph(build_states(file, inputs), inputs, steps)


def build_states(file: GraphFile, inputs: GraphInputs) -> Node:
    """Return the output of a file as ``(batch, length, hidden) float32``; the length is 1 if it is pooled already."""
    outputs = connect(read_graph(file.path, file.name), file.config, inputs, segments=inputs.segments)
    state = op.convert(outputs[file.output], "f32")
    # Any pooling of one state is that state.
    return op.unsqueeze(state, ints(1)) if file.is_pooled else state


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the inputs of a file are computed from."""

    inputs: GraphInputs
    config: GraphConfig
    segments: Node | None

    @property
    def zeros(self) -> Node:
        return op.broadcast(ints(0), op.shape_of(self.inputs.ids, "i32"))


def _ids(sources: _Sources) -> Node:
    # Some models compute positions and masks from the id of padding.
    return op.select(sources.inputs.inside, sources.inputs.ids, ints(sources.config.pad_id))


def _positions(sources: _Sources) -> Node:
    return op.add(
        op.unsqueeze(sources.inputs.positions, ints(0)), op.add(sources.zeros, ints(sources.config.first_position))
    )


_INPUTS: Mapping[str, Callable[[_Sources], Node]] = {
    "input_ids": _ids,
    "attention_mask": lambda sources: sources.inputs.inside,
    "token_type_ids": lambda sources: sources.zeros if sources.segments is None else sources.segments,
    "position_ids": _positions,
}


def _name(parameter: Node) -> str:
    names = sorted(parameter.output(0).names)
    return names[0] if names else str(parameter.get_friendly_name())


def _summarize(error: Exception) -> str:
    """Return the last line of an error of OpenVINO, which says what is wrong; earlier lines name lines of its source code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".")[:300] if lines else "unknown error"
