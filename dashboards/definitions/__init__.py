"""One module a dashboard; each has `build()`, which returns an unplaced SDK builder."""
