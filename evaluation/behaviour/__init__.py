"""How a model behaves, beside what it can do: stereotypes, typing errors in questions, and what it writes."""
