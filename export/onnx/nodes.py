"""Small parts of ONNX graphs: constants, and what a Loop repeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.defs import OpSchema
from onnx_ir import Value
from onnxscript import opset20 as op
from onnxscript.values import Op, Opset

FLOAT, INT, BOOL = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL


def constant(value: Any, dtype: Any = np.int64) -> Value:
    """A constant: int64, unless it says otherwise."""
    return op.Constant(value=ir.tensor(np.array(value, dtype)))


def real(value: Any) -> Value:
    """A float32 constant."""
    return constant(value, np.float32)


def ints(*values: int) -> Value:
    """An int64 constant [n], as nodes take shapes and axes."""
    return constant(values)


def single(value: Value) -> Value:
    """The value converted to float32."""
    if value.dtype == FLOAT:
        return value
    cast = op.Cast(value, to=FLOAT)
    cast.shape = value.shape  # a node's output does not take it over from its input
    return cast


def part(value: Value, axis: int, start: int, end: int) -> Value:
    """value[start:end] along an axis."""
    return op.Slice(value, ints(start), ints(end), ints(axis))


class Body:
    """Nodes of what a Loop repeats, made as `op` makes those of the graph; `index` is the number of the repetition.

    A Loop, not a Scan: of that OpenVINO takes what the body reads of the graph around it for states.
    """

    def __init__(self, name: str) -> None:
        self.nodes: list[ir.Node] = []
        self.name = name
        self.index = Value(name=f"{name}_index", type=ir.TensorType(INT), shape=ir.Shape([]))
        self._condition = Value(name=f"{name}_condition", type=ir.TensorType(BOOL), shape=ir.Shape([]))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not name[0].isupper():
            raise AttributeError(f"no operator is called {name}")

        def make(*inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
            label = f"{self.name}_{name}_{len(self.nodes)}"  # of its own, also among those of the graph around it
            self.nodes.append(ir.node(name, inputs, attributes, num_outputs=outputs, name=label))
            made = self.nodes[-1].outputs
            for k, value in enumerate(made):
                value.name = f"{label}_{k}"
            return made[0] if outputs == 1 else made

        return make

    def graph(self, *outputs: Any) -> ir.Graph:
        """What a Loop takes for its body; outputs of all repetitions lie one behind the other."""
        always = self.Identity(self._condition)
        return ir.Graph([self.index, self._condition], [always, *outputs], nodes=self.nodes, name=self.name)


def _loop_of_two() -> Op:
    """A Loop of no state and two float32 outputs; from its own schema the builder of nodes makes one, of a state."""
    parameter = OpSchema.FormalParameter
    schema = OpSchema(
        "Loop",
        "",
        20,
        inputs=[parameter("M", "I"), parameter("cond", "B")],
        outputs=[parameter("first", "V"), parameter("second", "V")],
        type_constraints=[("I", ["tensor(int64)"], ""), ("B", ["tensor(bool)"], ""), ("V", ["tensor(float)"], "")],
        attributes=[OpSchema.Attribute("body", OpSchema.AttrType.GRAPH, required=True)],
    )
    return Op(Opset("", 20), "Loop", schema)


loop_of_two = _loop_of_two()
