"""Command events into attempts and outcomes."""
