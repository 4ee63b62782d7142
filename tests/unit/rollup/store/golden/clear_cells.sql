WITH touched AS MATERIALIZED (
  SELECT "window_start",
    "_window_end",
    "zone" COLLATE "C" AS "zone",
    "kind" COLLATE "C" AS "kind"
  FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[], %(values_0)s::text[], %(values_1)s::text[]) AS t("window_start", "_window_end", "zone", "kind")
) DELETE
FROM "store"."ride_hour__VERSION" AS a USING touched AS t
WHERE "a"."window_start" = "t"."window_start" AND "a"."zone" = "t"."zone" AND "a"."kind" = "t"."kind" AND NOT EXISTS (
  SELECT
  FROM (
    SELECT t."window_start",
      t."zone",
      t."kind",
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
      FROM "store"."ride_minute__VERSION" AS b
      WHERE b.window_start >= t.window_start AND b.window_start < t._window_end AND b."zone" = t."zone" AND b."kind" = t."kind"
    ) AS m
    WHERE m._rows > 0
  ) AS n
  WHERE "n"."window_start" = "a"."window_start" AND "n"."zone" = "a"."zone" AND "n"."kind" = "a"."kind"
)
