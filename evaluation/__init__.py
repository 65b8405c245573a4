"""What is measured: capability, fidelity, speed and memory; gates; the report."""
