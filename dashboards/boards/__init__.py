"""One module a board; each has `build()`, which returns an unplaced SDK builder."""
