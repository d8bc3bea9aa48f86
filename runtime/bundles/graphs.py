"""Limits of our own on a decision graph, checked before onnxruntime sees it.

onnxruntime alone loads NaN weights, graphs with external files and graphs that ask for 160 GB.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from runtime.errors import BundleRefused

MAX_GRAPH_BYTES = 64 * 1024 * 1024  # a 2000-tree LightGBM is about 10 MB
MAX_NODES = 20_000
MAX_ELEMENTS = 50_000_000  # of any one constant or statically known shape, 400 MB as float64
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
RANDOM_OPERATORS = frozenset(
    {
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
ENDLESS_OPERATORS = frozenset({"Loop"})  # its condition is computed, so nothing bounds its time
_SCHEMA_DOMAINS = {"ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}
_FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
)


def check_graph(graph: bytes) -> None:
    """Refuse a graph that is not self-contained, known, finite and bounded.

    Args:
        graph: serialised ONNX model.

    Raises:
        BundleRefused: the text begins with "graph.onnx" and says what is wrong with it.
    """
    if len(graph) > MAX_GRAPH_BYTES:
        raise _refused(f"{len(graph)} bytes, at most {MAX_GRAPH_BYTES} are accepted")
    try:
        model = onnx.load_model_from_string(graph)
    except Exception as error:  # protobuf's DecodeError has no stable import path
        raise _refused(f"is not an ONNX model ({error})") from error
    _check_header(model)
    versions = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    nodes = list(_nodes(model.graph))
    if not nodes:
        raise _refused("has no operator")
    if len(nodes) > MAX_NODES:
        raise _refused(f"{len(nodes)} operators, at most {MAX_NODES} are accepted")
    for node in nodes:
        _check_node(node, versions)
    for tensor in _initialisers(model.graph):
        _check_tensor(tensor, f"initialiser {tensor.name!r}", scalar_mask=False)
    _check_inferred(model)


def _check_header(model: ModelProto) -> None:
    for opset in model.opset_import:
        if opset.domain not in DOMAINS:
            raise _refused(
                f"uses the operator domain {opset.domain!r}; known are ai.onnx, ai.onnx.ml"
            )
    if model.functions:
        raise _refused(f"brings {len(model.functions)} functions of its own; inline them")
    if model.training_info:
        raise _refused("carries training information")
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type
        if shape.elem_type != TensorProto.DOUBLE:
            raise _refused(f"{value.name!r} must be a float64 tensor")
        _check_size([d.dim_value for d in shape.shape.dim], f"{value.name!r}")


def _check_inferred(model: ModelProto) -> None:
    """Refuse intermediate results whose size is known beforehand and beyond bounds."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for value in inferred.graph.value_info:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        _check_size(dims, f"result {value.name!r}")


def _check_node(node: NodeProto, versions: Mapping[str, int]) -> None:
    where = f"operator {node.op_type} {node.name!r}"
    if node.domain not in DOMAINS:
        raise _refused(f"{where} is of the unknown domain {node.domain!r}")
    if node.op_type in ENDLESS_OPERATORS:
        raise _refused(f"{where} may repeat without an end; unroll it")
    domain = node.domain or "ai.onnx"
    try:
        onnx.defs.get_schema(node.op_type, versions.get(domain, 0), _SCHEMA_DOMAINS[domain])
    except onnx.defs.SchemaError:
        raise _refused(f"{where} is not known in {domain} version {versions.get(domain)}") from None
    if node.op_type in RANDOM_OPERATORS:
        raise _refused(f"{where} draws random numbers; a decision must be repeatable")
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _check_tensor(attribute.t, where, scalar_mask=True)
        for tensor in attribute.tensors:
            _check_tensor(tensor, where, scalar_mask=False)
        values = np.array([attribute.f, *attribute.floats], dtype=np.float32)
        if np.isnan(values).any() or not np.isfinite(values[1:]).all():
            raise _refused(f"{where} holds a value that is not finite in {attribute.name!r}")


def _check_tensor(tensor: TensorProto, where: str, *, scalar_mask: bool) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise _refused(f"{where} keeps its data outside the file")
    _check_size(tensor.dims, where)
    if tensor.data_type not in _FLOATS:
        return
    values = numpy_helper.to_array(tensor).astype(np.float64)
    if scalar_mask and values.size == 1:
        return  # where(condition, x, nan or inf) is how a mask is written; outputs are checked
    if not np.isfinite(values).all():
        raise _refused(f"{where} holds a value that is not finite")


def _check_size(dims: "list[int]", where: str) -> None:
    elements = 1
    for dim in dims:
        elements *= max(int(dim), 1)
    if elements > MAX_ELEMENTS:
        raise _refused(f"{where} asks for {elements} values, at most {MAX_ELEMENTS} are accepted")


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _nodes(inner)


def _initialisers(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    if graph.sparse_initializer:
        raise _refused("holds sparse initialisers, which are not accepted")
    for node in graph.node:
        for inner in _subgraphs(node):
            yield from _initialisers(inner)


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _refused(reason: str) -> BundleRefused:
    return BundleRefused(f"graph.onnx: {reason}")
