"""Stillhouse: teacher model in, serving-ready student out."""
