"""TensorRT: engines, and the plugin library whose C++ lies here."""
