"""Vehicle health: which vehicles stop while somebody rides them. What is decided here is decided by pure functions."""
