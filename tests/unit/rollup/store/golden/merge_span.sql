INSERT INTO "store"."ride_day__VERSION" ("window_start", "date", "zone", "kind", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown")
SELECT w._above,
  (w._above AT TIME ZONE 'Asia/Seoul')::date,
  b."zone",
  b."kind",
  sum("b"."n")::bigint,
  sum("b"."amount")::numeric,
  max("b"."most"),
  fleetgauge.sketch_merge("b"."score"),
  fleetgauge.distinct_merge("b"."riders"),
  (array_agg("b"."latest" ORDER BY "b"."latest_at" DESC, "b"."latest" DESC) FILTER (WHERE "b"."latest_at" IS NOT NULL))[1],
  max("b"."latest_at"),
  fleetgauge.tally_merge("b"."sizes"),
  sum("b"."sizes_unknown")::bigint
FROM "store"."ride_hour__VERSION" AS b
JOIN (
  SELECT window_start,
    fleetgauge.window_start(window_start, 'day', 'Asia/Seoul') AS _above
  FROM (
    SELECT DISTINCT window_start
    FROM "store"."ride_hour__VERSION"
    WHERE window_start >= %(begin)s AND window_start < %(end)s
  ) AS d OFFSET 0
) AS w USING (window_start)
WHERE b.window_start >= %(begin)s AND b.window_start < %(end)s
GROUP BY w._above , b."zone", b."kind"
ORDER BY date_trunc('month', w._above, 'Asia/Seoul'), "zone", "kind", w._above
