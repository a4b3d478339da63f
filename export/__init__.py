"""Export of models to ONNX and TensorRT; installed as `vinr_engine.export`."""
