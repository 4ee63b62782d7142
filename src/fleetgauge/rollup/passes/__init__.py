"""One pass over a metric, step by step, and passes over many."""
