WITH touched AS MATERIALIZED (
  SELECT "window_start",
    "_window_end",
    "zone" COLLATE "C" AS "zone",
    "kind" COLLATE "C" AS "kind"
  FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[], %(values_0)s::text[], %(values_1)s::text[]) AS t("window_start", "_window_end", "zone", "kind")
), old AS MATERIALIZED (
  SELECT b.ctid AS _at,
    b."window_start",
    b."zone",
    b."kind",
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
  JOIN "store"."ride_minute__VERSION" AS b ON "b"."window_start" = "t"."window_start" AND "b"."zone" = "t"."zone" AND "b"."kind" = "t"."kind"
), new AS MATERIALIZED (
  SELECT "window_start",
    "zone",
    "kind",
    "n"::bigint AS "n",
    "amount"::numeric AS "amount",
    "most"::double precision AS "most",
    "score"::fleetgauge.sketch AS "score",
    "riders"::fleetgauge.distinct_bits AS "riders",
    "latest"::numeric AS "latest",
    "latest_at"::timestamptz AS "latest_at",
    "sizes"::fleetgauge.tally AS "sizes",
    "sizes_unknown"::bigint AS "sizes_unknown"
  FROM staged
), different AS MATERIALIZED (
  SELECT "window_start",
    "zone",
    "kind",
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
  ) AS n USING ("window_start", "zone", "kind")
  WHERE o._at IS NULL OR n._there IS NULL OR (o."n", o."amount", o."most", o."score", o."riders", o."latest", o."latest_at", o."sizes", o."sizes_unknown") IS DISTINCT
  FROM (n."n", n."amount", n."most", n."score", n."riders", n."latest", n."latest_at", n."sizes", n."sizes_unknown")
), put AS ( UPDATE "store"."ride_minute__VERSION" AS a SET "n" = d."n", "amount" = d."amount", "most" = d."most", "score" = d."score", "riders" = d."riders", "latest" = d."latest", "latest_at" = d."latest_at", "sizes" = d."sizes", "sizes_unknown" = d."sizes_unknown" FROM different AS d WHERE a.ctid = d._at AND d._there AND "a"."window_start" = "d"."window_start" AND "a"."zone" = "d"."zone" AND "a"."kind" = "d"."kind" ), come AS ( INSERT INTO "store"."ride_minute__VERSION" ("window_start", "zone", "kind", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown") SELECT window_start, "zone", "kind", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown" FROM different WHERE _at IS NULL ORDER BY date_trunc('hour', "window_start", 'Asia/Seoul'), "zone", "kind", "window_start" )
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
UNION ALL
SELECT 'losing',
  w,
  NULL,
  0
FROM (
  SELECT DISTINCT "window_start" AS w
  FROM (
    SELECT "window_start",
      "zone",
      "kind",
      -"n" AS _n
    FROM (
      SELECT "window_start",
        "zone",
        "kind",
        n."_old_0" AS "n",
        n."_old_1" AS "amount",
        n."_old_2" AS "most",
        n."_old_3" AS "score",
        n."_old_4" AS "riders",
        n."_old_5" AS "latest",
        n."_old_6" AS "latest_at",
        n."_old_7" AS "sizes",
        n."_old_8" AS "sizes_unknown"
      FROM different AS n
      WHERE _at IS NOT NULL
    ) AS o
    UNION ALL
    SELECT "window_start",
      "zone",
      "kind",
      "n"
    FROM different
    WHERE _there
  ) AS weighed
  GROUP BY "window_start", "zone", "kind"
  HAVING sum(_n) < 0
) AS lost
WHERE w <@ %(final)s::tstzmultirange
