"""Cases of BF-STVSR and MoTIF, of which a query gives what a straight form gives."""

import torch

import golden_cases
from benchmarks.tolerances import GOLDEN_SPLATTED, relative_error

PREFIX = "override:"


def case_of(network, name, dtype=torch.float64):
    """Its arrays, and the parameters of the network's query."""
    case = golden_cases.sibling_cases(network, dtype)[name]
    parameters = golden_cases.sibling_parameters(network, case["seed"], dtype)
    parameters |= {n.removeprefix(PREFIX): t for n, t in case.items() if n.startswith(PREFIX)}
    return case, parameters


def size_of(case):
    HH, WW = case["size"].tolist()
    return HH, WW


def assert_golden_gradients(case, rgb, features, parameters):
    """Of pictures [B, N, 3, HH, WW] by features, and the norms of those by parameters, by name."""
    norms = {name.removeprefix("grad_norm:"): float(t) for name, t in case.items() if name.startswith("grad_norm:")}
    leaves = [features, *(parameters[name] for name in norms)]
    d_features, *grads = torch.autograd.grad(rgb, leaves, case["grad"], allow_unused=True)
    bound = GOLDEN_SPLATTED[rgb.dtype] * 10
    assert relative_error(d_features, case["grad:features"]) <= bound
    for (name, norm), grad in zip(norms.items(), grads, strict=True):
        found = 0.0 if grad is None else grad.norm().item()
        assert abs(found - norm) <= bound * norm, name
