"""Command events into attempts, outcomes, tariffs and cost."""
