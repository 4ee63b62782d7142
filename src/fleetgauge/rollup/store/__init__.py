"""The metrics database: its tables, the ledger, what is kept, how it is brought up to date."""
