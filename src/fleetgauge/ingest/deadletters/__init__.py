"""Where records go that can never be stored, and how they come back."""
