INSERT INTO "store"."ride_minute__VERSION" ("window_start", "zone", "kind", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown")
SELECT "window_start",
  "zone",
  "kind",
  "n",
  "amount",
  "most",
  "score",
  "riders",
  "latest",
  "latest_at",
  "sizes",
  "sizes_unknown"
FROM staged
ORDER BY date_trunc('hour', "window_start", 'Asia/Seoul'), "zone", "kind", "window_start"
