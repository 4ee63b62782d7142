"""Rolling up: cost of a change, runs, dashboards, beside the alternatives."""
