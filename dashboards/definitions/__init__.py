"""One module or package for each dashboard; each has `build()`, which returns an unplaced SDK builder."""
