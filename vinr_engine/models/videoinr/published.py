"""Reads the constructor's values off the parameters of a published checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered children `prefix` has."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return len({m[1] for name in state if (m := pattern.match(name))})


def encoder_config(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
    """Of the encoder's values those that all its checkpoints have. Raises KeyError naming a missing parameter."""
    return {
        "groups": state[f"{prefix}pcd_align.L1_dcnpack_1.conv_offset_mask.weight"].shape[0] // 27,
        "front_blocks": _count(state, f"{prefix}feature_extraction"),
        "back_blocks": _count(state, f"{prefix}recon_trunk"),
    }


def config_from_shapes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor's values, read off the parameters' shapes. Raises KeyError naming a missing parameter."""

    def hidden(network: str) -> tuple[list[int], int]:
        layers = _count(state, network + ".net")
        if layers == 0:
            raise KeyError(f"{network}.net.0.linear.weight")
        widths = [state[f"{network}.net.{i}.linear.weight"].shape[0] for i in range(layers - 1)]
        return widths, state[f"{network}.net.{layers - 1}.weight"].shape[0]

    feat_hidden, hr_features = hidden("feat_imnet")
    return {
        "nf": state["conv_first.weight"].shape[0],
        **encoder_config(state),
        "hr_features": hr_features,
        "feat_hidden": feat_hidden,
        "flow_hidden": hidden("flow_imnet")[0],
        "encode_hidden": hidden("encode_imnet")[0],
        "recurrent": any(name.startswith("ConvBLSTM.") for name in state),
        "motion_prior": "motion_prior.conv.weight" in state,
    }
