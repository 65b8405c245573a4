"""Tasks that are solved in steps: made, written out, checked step by step, judged."""
