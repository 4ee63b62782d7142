"""What people ask for beside the runs: previews, backfill, reconcile, freshness, doctor, pages and exports."""
