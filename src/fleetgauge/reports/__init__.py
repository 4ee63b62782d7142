"""Reports on the metrics: read once, made into findings by pure functions, shown on the terminal, as JSON, as a page.

Nothing here writes, and nothing reads but the schema `metrics` and what its viewers may call.
"""
