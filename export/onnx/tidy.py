"""What is worth doing to a graph before it is written; runtimes optimise it again, for themselves."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants_ir


def tidy(model: ir.Model) -> None:
    """Fold constants, drop what is not used or there twice, and hold constants as initializers.

    torch.onnx's own optimisation also looks for dozens of patterns that are not here, which takes longer than all the
    rest of an export.
    """
    fold_constants_ir(model)
    passes = ir.passes.Sequential(
        common.InlinePass(),
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),
        common.RemoveUnusedOpsetsPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )
    passes(model)
