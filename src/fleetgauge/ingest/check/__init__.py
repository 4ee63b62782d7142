"""From records to checked bulk bodies."""
