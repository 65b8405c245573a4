"""Benchmarks as lm-eval's tasks: their documents read or made, asked, and each answer judged."""
