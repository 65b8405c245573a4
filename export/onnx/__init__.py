"""The student as an ONNX graph with a key-value cache."""
