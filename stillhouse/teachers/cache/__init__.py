"""A teacher's knowledge on disk: captured once, found by sample, refused where it belongs to something else."""
