"""What a metric is, and whether its folder says so without a fault. Reads files only."""
