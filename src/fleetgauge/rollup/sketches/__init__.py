"""Percentiles and counts of different values that merge: the twins of the functions in the metrics database."""
