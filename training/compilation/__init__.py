"""Compiles a pipeline to ONNX and proves that both answer the same."""
