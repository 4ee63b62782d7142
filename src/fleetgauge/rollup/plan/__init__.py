"""What a run will do, as a value: worked out from the ledger and one look at the source, without any connection."""
