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
  JOIN "store"."ride_day__VERSION" AS b ON "b"."window_start" = "t"."window_start" AND "b"."zone" = "t"."zone" AND "b"."kind" = "t"."kind"
), new AS MATERIALIZED (
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
    FROM "store"."ride_hour__VERSION" AS b
    WHERE b.window_start >= t.window_start AND b.window_start < t._window_end AND b."zone" = t."zone" AND b."kind" = t."kind"
  ) AS m
  WHERE m._rows > 0
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
), put AS ( UPDATE "store"."ride_day__VERSION" AS a SET "n" = d."n", "amount" = d."amount", "most" = d."most", "score" = d."score", "riders" = d."riders", "latest" = d."latest", "latest_at" = d."latest_at", "sizes" = d."sizes", "sizes_unknown" = d."sizes_unknown" FROM different AS d WHERE a.ctid = d._at AND d._there AND "a"."window_start" = "d"."window_start" AND "a"."zone" = "d"."zone" AND "a"."kind" = "d"."kind" ), come AS ( INSERT INTO "store"."ride_day__VERSION" ("window_start", "date", "zone", "kind", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown") SELECT window_start, ("window_start" AT TIME ZONE 'Asia/Seoul')::date, "zone", "kind", "n", "amount", "most", "score", "riders", "latest", "latest_at", "sizes", "sizes_unknown" FROM different WHERE _at IS NULL ORDER BY date_trunc('month', "window_start", 'Asia/Seoul'), "zone", "kind", "window_start" ) , changed AS MATERIALIZED (
  SELECT window_start,
    jsonb_build_object('zone', "zone", 'kind', "kind") AS dimensions,
    v.*
  FROM different AS n
  CROSS JOIN LATERAL (
    SELECT CASE WHEN n._at IS NOT NULL THEN true END AS _there,
      n."_old_0" AS "n",
      n."_old_1" AS "amount",
      n."_old_2" AS "most",
      n."_old_3" AS "score",
      n."_old_4" AS "riders",
      n."_old_5" AS "latest",
      n."_old_6" AS "latest_at",
      n."_old_7" AS "sizes",
      n."_old_8" AS "sizes_unknown"
  ) AS o
  CROSS JOIN LATERAL (VALUES ('n', true, ("o"."n" IS DISTINCT FROM "n"."n" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."n" IS DISTINCT FROM "n"."n" OR o._there IS DISTINCT FROM n._there) THEN "o"."n"::text END, CASE WHEN ("o"."n" IS DISTINCT FROM "n"."n" OR o._there IS DISTINCT FROM n._there) THEN "n"."n"::text END, coalesce("n"."n", 0)::numeric - coalesce("o"."n", 0)::numeric), ('amount', true, ("o"."amount" IS DISTINCT FROM "n"."amount" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."amount" IS DISTINCT FROM "n"."amount" OR o._there IS DISTINCT FROM n._there) THEN "o"."amount"::text END, CASE WHEN ("o"."amount" IS DISTINCT FROM "n"."amount" OR o._there IS DISTINCT FROM n._there) THEN "n"."amount"::text END, coalesce("n"."amount", 0)::numeric - coalesce("o"."amount", 0)::numeric), ('most', false, ("o"."most" IS DISTINCT FROM "n"."most" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."most" IS DISTINCT FROM "n"."most" OR o._there IS DISTINCT FROM n._there) THEN "o"."most"::text END, CASE WHEN ("o"."most" IS DISTINCT FROM "n"."most" OR o._there IS DISTINCT FROM n._there) THEN "n"."most"::text END, NULL::numeric), ('score', false, ("o"."score" IS DISTINCT FROM "n"."score" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."score" IS DISTINCT FROM "n"."score" OR o._there IS DISTINCT FROM n._there) THEN 'count ' || fleetgauge.sketch_count("o"."score") || coalesce(', p50 ' || fleetgauge.quantile("o"."score", 0.5) || ', p95 ' || fleetgauge.quantile("o"."score", 0.95), '') END, CASE WHEN ("o"."score" IS DISTINCT FROM "n"."score" OR o._there IS DISTINCT FROM n._there) THEN 'count ' || fleetgauge.sketch_count("n"."score") || coalesce(', p50 ' || fleetgauge.quantile("n"."score", 0.5) || ', p95 ' || fleetgauge.quantile("n"."score", 0.95), '') || CASE WHEN 'count ' || fleetgauge.sketch_count("o"."score") || coalesce(', p50 ' || fleetgauge.quantile("o"."score", 0.5) || ', p95 ' || fleetgauge.quantile("o"."score", 0.95), '') = 'count ' || fleetgauge.sketch_count("n"."score") || coalesce(', p50 ' || fleetgauge.quantile("n"."score", 0.5) || ', p95 ' || fleetgauge.quantile("n"."score", 0.95), '') THEN ' (of other values)' ELSE '' END END, NULL::numeric), ('riders', false, ("o"."riders" IS DISTINCT FROM "n"."riders" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."riders" IS DISTINCT FROM "n"."riders" OR o._there IS DISTINCT FROM n._there) THEN fleetgauge.distinct("o"."riders")::text END, CASE WHEN ("o"."riders" IS DISTINCT FROM "n"."riders" OR o._there IS DISTINCT FROM n._there) THEN fleetgauge.distinct("n"."riders")::text || CASE WHEN fleetgauge.distinct("o"."riders")::text = fleetgauge.distinct("n"."riders")::text THEN ' (of other values)' ELSE '' END END, NULL::numeric), ('latest', false, ("o"."latest" IS DISTINCT FROM "n"."latest" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."latest" IS DISTINCT FROM "n"."latest" OR o._there IS DISTINCT FROM n._there) THEN "o"."latest"::text END, CASE WHEN ("o"."latest" IS DISTINCT FROM "n"."latest" OR o._there IS DISTINCT FROM n._there) THEN "n"."latest"::text END, NULL::numeric), ('latest_at', false, ("o"."latest_at" IS DISTINCT FROM "n"."latest_at" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."latest_at" IS DISTINCT FROM "n"."latest_at" OR o._there IS DISTINCT FROM n._there) THEN "o"."latest_at"::text END, CASE WHEN ("o"."latest_at" IS DISTINCT FROM "n"."latest_at" OR o._there IS DISTINCT FROM n._there) THEN "n"."latest_at"::text END, NULL::numeric), ('sizes', false, ("o"."sizes" IS DISTINCT FROM "n"."sizes" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."sizes" IS DISTINCT FROM "n"."sizes" OR o._there IS DISTINCT FROM n._there) THEN 'count ' || fleetgauge.tally_count("o"."sizes") || coalesce(', p50 ' || fleetgauge.tally_quantile("o"."sizes", 0.5) || ', p95 ' || fleetgauge.tally_quantile("o"."sizes", 0.95), '') END, CASE WHEN ("o"."sizes" IS DISTINCT FROM "n"."sizes" OR o._there IS DISTINCT FROM n._there) THEN 'count ' || fleetgauge.tally_count("n"."sizes") || coalesce(', p50 ' || fleetgauge.tally_quantile("n"."sizes", 0.5) || ', p95 ' || fleetgauge.tally_quantile("n"."sizes", 0.95), '') || CASE WHEN 'count ' || fleetgauge.tally_count("o"."sizes") || coalesce(', p50 ' || fleetgauge.tally_quantile("o"."sizes", 0.5) || ', p95 ' || fleetgauge.tally_quantile("o"."sizes", 0.95), '') = 'count ' || fleetgauge.tally_count("n"."sizes") || coalesce(', p50 ' || fleetgauge.tally_quantile("n"."sizes", 0.5) || ', p95 ' || fleetgauge.tally_quantile("n"."sizes", 0.95), '') THEN ' (of other values)' ELSE '' END END, NULL::numeric), ('sizes_unknown', true, ("o"."sizes_unknown" IS DISTINCT FROM "n"."sizes_unknown" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."sizes_unknown" IS DISTINCT FROM "n"."sizes_unknown" OR o._there IS DISTINCT FROM n._there) THEN "o"."sizes_unknown"::text END, CASE WHEN ("o"."sizes_unknown" IS DISTINCT FROM "n"."sizes_unknown" OR o._there IS DISTINCT FROM n._there) THEN "n"."sizes_unknown"::text END, coalesce("n"."sizes_unknown", 0)::numeric - coalesce("o"."sizes_unknown", 0)::numeric)) AS v(_measure, _adds, _differs, _before, _after, _change)
  WHERE _differs AND window_start <@ %(closed)s::tstzmultirange
), counted AS (
  SELECT count(*) AS n
  FROM changed
), told AS (INSERT INTO fleetgauge.restatement (metric, version, level, grain, window_start, dimensions, measure, before, after, change, cells, reason, run_id) SELECT %(metric)s::text, %(version)s::text, 'day', 'day', window_start, dimensions, _measure, _before, _after, _change, 1, %(reason)s::text, %(run_id)s::bigint FROM changed, counted WHERE n <= 10000 UNION ALL SELECT %(metric)s::text, %(version)s::text, 'day', 'day', window_start, NULL, _measure, sum(CASE WHEN _adds THEN _before::numeric END)::text, sum(CASE WHEN _adds THEN _after::numeric END)::text, sum(_change), count(*), %(reason)s::text, %(run_id)s::bigint FROM changed, counted WHERE n > 10000 GROUP BY window_start, _measure RETURNING window_start, dimensions::text, cells)
SELECT 'told',
  *
FROM told
UNION ALL
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
