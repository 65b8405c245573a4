"""What ships: the student in each deployable form, and the package around it."""
