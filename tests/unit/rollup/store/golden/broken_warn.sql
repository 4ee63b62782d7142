SELECT min(_reason),
  "window_start",
  "zone",
  "kind"
FROM (
  SELECT "window_start",
    "zone",
    "kind",
    CASE WHEN NOT coalesce((+ "amount") <= (+ 1000), true) THEN 'amount <= 1000' END AS _reason
  FROM staged
) AS judged
WHERE _reason IS NOT NULL
GROUP BY "window_start", "zone", "kind"
ORDER BY "window_start", "zone", "kind"
