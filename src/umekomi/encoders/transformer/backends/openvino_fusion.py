"""Keep OpenVINO from computing an activation together with the matrix product before it.

On a CPU with AVX2 only, the kernel for both at once (`brgemm_avx2_f32`) adds up the products of more than 512 inputs in an order
that depends on the number of tokens. The kernel for a product alone (`gemm_mlas_f32`) does not, and is as fast
(docs/lab/same-bytes.md).
"""

from __future__ import annotations

from .openvino_import import Node, op, ov
from .openvino_nodes import ints

_NEVER_FUSED = {"Add", "MVN", "Reshape", "Result", "Softmax", "Split", "Transpose", "VariadicSplit"}
"""Operations after a product that are not activations. Sums with another tensor do not change the kernel."""


def separate_activations(graph: ov.Model) -> None:
    """Add results to a graph that use products with weights, so that OpenVINO computes activations apart from them.

    OpenVINO fuses a product only with a single consumer. Each new result is one number of a product for each text; the first
    result stays as it is.
    """
    products = [_with_bias(node) for node in graph.get_ordered_ops() if _is_product(node)]
    graph.add_results([op.result(_first_number(product)) for product in products if _feeds_activation(product)])


def _is_product(node: Node) -> bool:
    """Return whether a node multiplies with weights, and the number of its dimensions is known."""
    is_known = node.get_type_name() == "MatMul" and node.output(0).partial_shape.rank.is_static
    return bool(is_known and _is_constant(node.input_value(1).get_node()))


def _feeds_activation(product: Node) -> bool:
    return any(consumer.get_type_name() not in _NEVER_FUSED for consumer in _consumers(product))


def _first_number(node: Node) -> Node:
    last_axis = node.output(0).partial_shape.rank.get_length() - 1
    return op.slice(node, ints([0]), ints([1]), ints([1]), ints([last_axis]))


def _consumers(node: Node) -> list[Node]:
    return [target.get_node() for target in node.output(0).get_target_inputs()]


def _with_bias(product: Node) -> Node:
    """Return the node that adds a constant to a product, or the product if there is none."""
    consumers = _consumers(product)
    if len(consumers) != 1 or consumers[0].get_type_name() != "Add":
        return product
    has_constant = any(_is_constant(port.get_source_output().get_node()) for port in consumers[0].inputs())
    return consumers[0] if has_constant else product


def _is_constant(node: Node) -> bool:
    """Return whether a node is a constant or converts one, as in files with fp16 weights."""
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")
