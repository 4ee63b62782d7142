"""Erases one person by id, from every store that the pipeline writes, and leaves a receipt without the id."""
