"""Teachers: what a larger model knows, asked for."""
