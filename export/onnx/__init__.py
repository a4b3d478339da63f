"""Networks as ONNX graphs: what is traced, what its operations become, and the files."""
