"""How a model behaves, beside what it can do: bias, harm, robustness, calibration, and what it writes."""
