"""Parameters of a part, out of the state of a whole network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor, nn

from vinr_engine.models.kinds import kind_of

M = TypeVar("M", bound=nn.Module)


def load_part(module: M, state: Mapping[str, Tensor], begins: Sequence[str], lacks: Sequence[str] = ()) -> M:
    """`module` with those parameters of `state` whose names begin so, in their dtype.

    Names may have "module." before them; `state` need not hold those that begin as `lacks` says. Raises ValueError
    saying what is missing, or has another shape, and of which network `state` is, if that is known.
    """
    part = _checked_part(module, state, begins, lacks)
    module.to(next(iter(part.values())).dtype)
    module.load_state_dict(module.state_dict() | part)
    return module


def share_part(module: M, of: nn.Module, begins: Sequence[str], lacks: Sequence[str] = ()) -> M:
    """`module` with the parameters of another one themselves, which stay that one's too; the rest as `load_part`."""
    state = dict(of.named_buffers()) | dict(of.named_parameters())
    module.load_state_dict(module.state_dict() | _checked_part(module, state, begins, lacks), assign=True)
    return module.train(of.training)


def _checked_part(
    module: nn.Module, state: Mapping[str, Tensor], begins: Sequence[str], lacks: Sequence[str]
) -> dict[str, Tensor]:
    part = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    part = {name: tensor for name, tensor in part.items() if name.startswith(tuple(begins))}
    wrong = []
    for name, tensor in module.state_dict().items():
        if name not in part and not name.startswith(tuple(lacks)):
            wrong.append(f"{name} is missing")
        elif name in part and part[name].shape != tensor.shape:
            wrong.append(f"{name} is {list(part[name].shape)}, not {list(tensor.shape)}")
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        kind = kind_of(state)
        told = f": this is a {kind} checkpoint" if kind else ""
        raise ValueError(f"not the parameters of a {type(module).__name__}{told}; {', '.join(wrong[:3])}{more}")
    return {name: tensor for name, tensor in part.items() if name in module.state_dict()}
