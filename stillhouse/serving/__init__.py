"""Serving a package: ONNX Runtime, tokenizers and numpy; neither torch nor transformers."""
