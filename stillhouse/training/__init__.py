"""Training: batches, the loop, its schedule and its checkpoints."""
