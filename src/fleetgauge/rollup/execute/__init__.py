"""Does what a plan says: the executor, its transactions, the only writer of tables and ledger; runs of many metrics."""
