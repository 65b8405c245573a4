"""The store: finds, makes, verifies and collects artifacts, each named by what went into it."""
