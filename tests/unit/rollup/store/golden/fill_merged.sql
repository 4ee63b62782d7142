INSERT INTO "store"."ride_minute__VERSION" ("window_start", "zone", "kind", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown")
SELECT "b"."window_start",
  "b"."zone",
  "b"."kind",
  sum("b"."n")::bigint,
  sum("b"."amount")::numeric,
  max("b"."most"),
  fleetgauge.sketch_merge("b"."score"),
  fleetgauge.distinct_merge("b"."riders"),
  (array_agg("b"."latest" ORDER BY "b"."latest_at" DESC, "b"."latest" DESC) FILTER (WHERE "b"."latest_at" IS NOT NULL))[1],
  max("b"."latest_at"),
  fleetgauge.tally_merge("b"."sizes"),
  sum("b"."sizes_unknown")::bigint
FROM staged AS b
GROUP BY "b"."window_start", "b"."zone", "b"."kind"
