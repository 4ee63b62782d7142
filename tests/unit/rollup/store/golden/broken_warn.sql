SELECT min(reason),
  "window_start",
  "zone",
  "kind"
FROM (
  SELECT "window_start",
    "zone",
    "kind",
    CASE WHEN NOT coalesce((+ "amount") <= (+ 1000), true) THEN 'amount <= 1000' END AS reason
  FROM staged
) AS judged
WHERE reason IS NOT NULL
GROUP BY "window_start", "zone", "kind"
ORDER BY "window_start", "zone", "kind"
