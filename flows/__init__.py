"""One file a pipeline: the order of work, and what must hold before it starts."""
