"""The student in fewer bits."""
