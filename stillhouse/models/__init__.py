"""Models: found, loaded, saved, cut down."""
