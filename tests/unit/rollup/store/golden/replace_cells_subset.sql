WITH touched AS MATERIALIZED (
  SELECT "window_start",
    "_window_end",
    "zone" COLLATE "C" AS "zone"
  FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[], %(values_0)s::text[]) AS t("window_start", "_window_end", "zone")
), old AS MATERIALIZED (
  SELECT b.ctid AS _at,
    b."window_start",
    b."zone",
    b."n",
    b."amount",
    b."most",
    b."score",
    b."riders",
    b."latest",
    b."latest_at",
    b."sizes",
    b."sizes_unknown"
  FROM touched AS t
  JOIN "store"."ride_by_zone_hour__VERSION" AS b ON "b"."window_start" = "t"."window_start" AND "b"."zone" = "t"."zone"
), new AS MATERIALIZED (
  SELECT t."window_start",
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
  WHERE m._rows > 0
), different AS MATERIALIZED (
  SELECT "window_start",
    "zone",
    n._there,
    n."n",
    n."amount",
    n."most",
    n."score",
    n."riders",
    n."latest",
    n."latest_at",
    n."sizes",
    n."sizes_unknown",
    o._at,
    o."n" AS "_old_0",
    o."amount" AS "_old_1",
    o."most" AS "_old_2",
    o."score" AS "_old_3",
    o."riders" AS "_old_4",
    o."latest" AS "_old_5",
    o."latest_at" AS "_old_6",
    o."sizes" AS "_old_7",
    o."sizes_unknown" AS "_old_8"
  FROM old AS o
  FULL JOIN (
    SELECT *,
      true AS _there
    FROM new
  ) AS n USING ("window_start", "zone")
  WHERE o._at IS NULL OR n._there IS NULL OR (o."n", o."amount", o."most", o."score", o."riders", o."latest", o."latest_at", o."sizes", o."sizes_unknown") IS DISTINCT
  FROM (n."n", n."amount", n."most", n."score", n."riders", n."latest", n."latest_at", n."sizes", n."sizes_unknown")
), put AS ( UPDATE "store"."ride_by_zone_hour__VERSION" AS a SET "n" = d."n", "amount" = d."amount", "most" = d."most", "score" = d."score", "riders" = d."riders", "latest" = d."latest", "latest_at" = d."latest_at", "sizes" = d."sizes", "sizes_unknown" = d."sizes_unknown" FROM different AS d WHERE a.ctid = d._at AND d._there AND "a"."window_start" = "d"."window_start" AND "a"."zone" = "d"."zone" ), come AS ( INSERT INTO "store"."ride_by_zone_hour__VERSION" ("window_start", "zone", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown") SELECT window_start, "zone", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown" FROM different WHERE _at IS NULL ORDER BY date_trunc('day', "window_start", 'Asia/Seoul'), "zone", "window_start" )
SELECT 'rows',
  NULL::timestamptz,
  NULL::text,
  count(*)
FROM new
UNION ALL
SELECT 'vanished',
  NULL,
  NULL,
  count(*)
FROM different
WHERE _there IS NULL
