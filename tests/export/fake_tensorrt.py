"""A stand-in for TensorRT, as far as this package uses it: its plans are ONNX files, and ONNX Runtime runs them.

What it holds the callers to: inputs and outputs go through addresses, shapes within a profile are set before, and sizes
that shape inference reads lie on the host.
"""

import ctypes
import types

import numpy as np
import onnxruntime as ort

__version__ = "0.0 (fake)"
INT64, FLOAT = (types.SimpleNamespace(name=name) for name in ("INT64", "FLOAT"))
TensorIOMode = types.SimpleNamespace(INPUT="input", OUTPUT="output")
TYPES = {"tensor(float)": FLOAT, "tensor(int64)": INT64}
NUMPY = {"FLOAT": np.float32, "INT64": np.int64}
LARGEST = {"frames": 64}  # sides in the profile; of other inputs any


class Logger:
    ERROR = 1

    def __init__(self, severity):
        pass


class Runtime:
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, plan):
        return None if plan == b"of another GPU" else Engine(plan)


class Engine:
    def __init__(self, plan):
        self.session = ort.InferenceSession(plan)
        self.values = {v.name: v for v in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.inputs = [v.name for v in self.session.get_inputs()]
        self.num_io_tensors = len(self.values)

    def get_tensor_name(self, i):
        return list(self.values)[i]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return TYPES[self.values[name].type]

    def is_shape_inference_io(self, name):
        return name == "size"

    def get_tensor_profile_shape(self, name, profile):
        low = [n if isinstance(n, int) else 1 for n in self.values[name].shape]
        high = [n if isinstance(n, int) else LARGEST.get(name, 1 << 15) for n in self.values[name].shape]
        return low, low, high

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self.engine, self.shapes, self.addresses = engine, {}, {}

    def set_input_shape(self, name, shape):
        low, _, high = self.engine.get_tensor_profile_shape(name, 0)
        self.shapes[name] = shape
        return all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def infer_shapes(self):
        return []

    def _array(self, name, shape):
        dtype = np.dtype(NUMPY[self.engine.get_tensor_dtype(name).name])
        data = (ctypes.c_char * (int(np.prod(shape)) * dtype.itemsize)).from_address(self.addresses[name])
        return np.frombuffer(data, dtype).reshape(shape)

    def _outputs(self):
        feeds = {name: self._array(name, self.shapes[name]) for name in self.engine.inputs}
        return dict(zip([o.name for o in self.engine.session.get_outputs()], self.engine.session.run(None, feeds)))  # noqa: B905

    def get_tensor_shape(self, name):
        return self._outputs()[name].shape

    def execute_async_v3(self, stream):
        for name, value in self._outputs().items():
            self._array(name, value.shape)[...] = value
        return True
