INSERT INTO "store"."ride_by_zone_hour__VERSION" ("window_start", "zone", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown")
SELECT t.window_start,
  t."zone",
  m."n",
  m."amount",
  m."most",
  m."score",
  m."riders",
  m."latest",
  m."latest_at",
  m."sizes",
  m."sizes_unknown"
FROM touched AS t
CROSS JOIN LATERAL (
  SELECT sum("b"."n")::bigint AS "n",
    sum("b"."amount")::numeric AS "amount",
    max("b"."most") AS "most",
    fleetgauge.sketch_merge("b"."score") AS "score",
    fleetgauge.distinct_merge("b"."riders") AS "riders",
    (array_agg("b"."latest" ORDER BY "b"."latest_at" DESC, "b"."latest" DESC) FILTER (WHERE "b"."latest_at" IS NOT NULL))[1] AS "latest",
    max("b"."latest_at") AS "latest_at",
    fleetgauge.tally_merge("b"."sizes") AS "sizes",
    sum("b"."sizes_unknown")::bigint AS "sizes_unknown",
    count(*) AS _rows
  FROM "store"."ride_hour__VERSION" AS b
  WHERE b.window_start >= t.window_start AND b.window_start < t._window_end AND b."zone" = t."zone"
) AS m
WHERE t._level = 'by_zone_hour' AND m._rows > 0
