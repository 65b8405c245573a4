"""Data: found, checked, split, encoded, packed."""
