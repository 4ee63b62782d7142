"""What traffic costs: tariffs, charges, what a change would save. See docs/cost.md."""
