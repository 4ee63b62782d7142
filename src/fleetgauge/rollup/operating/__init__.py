"""What people ask for beside the passes: plan, backfill, reconcile, freshness, doctor, pages and exports."""
