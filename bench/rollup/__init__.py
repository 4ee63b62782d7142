"""Rolling up: cost of a change, passes, boards, beside the alternatives."""
