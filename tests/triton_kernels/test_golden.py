"""The whole network with every op on the triton backend, against the published network's stored output."""

import pytest
import torch

import vinr_engine as vinr
from golden_cases import CASES, golden_model
