WITH changed AS MATERIALIZED (
  SELECT window_start,
    jsonb_build_object('zone', "zone", 'kind', "kind") AS dimensions,
    v.*
  FROM (
    SELECT r.*,
      true AS _there
    FROM replaced AS r
    WHERE _level = 'hour'
  ) AS o
  FULL JOIN (
    SELECT a.*,
      true AS _there
    FROM (
      SELECT *
      FROM "store"."ride_hour__VERSION"
      WHERE window_start >= %(begin)s AND window_start < %(end)s AND window_start <@ %(closed)s::tstzmultirange
    ) AS a
  ) AS n USING ("window_start", "zone", "kind")
  CROSS JOIN LATERAL (VALUES ('n', true, ("o"."n" IS DISTINCT FROM "n"."n" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."n" IS DISTINCT FROM "n"."n" OR o._there IS DISTINCT FROM n._there) THEN "o"."n"::text END, CASE WHEN ("o"."n" IS DISTINCT FROM "n"."n" OR o._there IS DISTINCT FROM n._there) THEN "n"."n"::text END, coalesce("n"."n", 0)::numeric - coalesce("o"."n", 0)::numeric), ('amount', true, ("o"."amount" IS DISTINCT FROM "n"."amount" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."amount" IS DISTINCT FROM "n"."amount" OR o._there IS DISTINCT FROM n._there) THEN "o"."amount"::text END, CASE WHEN ("o"."amount" IS DISTINCT FROM "n"."amount" OR o._there IS DISTINCT FROM n._there) THEN "n"."amount"::text END, coalesce("n"."amount", 0)::numeric - coalesce("o"."amount", 0)::numeric), ('most', false, ("o"."most" IS DISTINCT FROM "n"."most" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."most" IS DISTINCT FROM "n"."most" OR o._there IS DISTINCT FROM n._there) THEN "o"."most"::text END, CASE WHEN ("o"."most" IS DISTINCT FROM "n"."most" OR o._there IS DISTINCT FROM n._there) THEN "n"."most"::text END, NULL::numeric), ('score', false, ("o"."score" IS DISTINCT FROM "n"."score" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."score" IS DISTINCT FROM "n"."score" OR o._there IS DISTINCT FROM n._there) THEN 'count ' || fleetgauge.sketch_count("o"."score") || coalesce(', p50 ' || fleetgauge.quantile("o"."score", 0.5) || ', p95 ' || fleetgauge.quantile("o"."score", 0.95), '') END, CASE WHEN ("o"."score" IS DISTINCT FROM "n"."score" OR o._there IS DISTINCT FROM n._there) THEN 'count ' || fleetgauge.sketch_count("n"."score") || coalesce(', p50 ' || fleetgauge.quantile("n"."score", 0.5) || ', p95 ' || fleetgauge.quantile("n"."score", 0.95), '') || CASE WHEN 'count ' || fleetgauge.sketch_count("o"."score") || coalesce(', p50 ' || fleetgauge.quantile("o"."score", 0.5) || ', p95 ' || fleetgauge.quantile("o"."score", 0.95), '') = 'count ' || fleetgauge.sketch_count("n"."score") || coalesce(', p50 ' || fleetgauge.quantile("n"."score", 0.5) || ', p95 ' || fleetgauge.quantile("n"."score", 0.95), '') THEN ' (of other values)' ELSE '' END END, NULL::numeric), ('riders', false, ("o"."riders" IS DISTINCT FROM "n"."riders" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."riders" IS DISTINCT FROM "n"."riders" OR o._there IS DISTINCT FROM n._there) THEN fleetgauge.distinct("o"."riders")::text END, CASE WHEN ("o"."riders" IS DISTINCT FROM "n"."riders" OR o._there IS DISTINCT FROM n._there) THEN fleetgauge.distinct("n"."riders")::text || CASE WHEN fleetgauge.distinct("o"."riders")::text = fleetgauge.distinct("n"."riders")::text THEN ' (of other values)' ELSE '' END END, NULL::numeric), ('latest', false, ("o"."latest" IS DISTINCT FROM "n"."latest" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."latest" IS DISTINCT FROM "n"."latest" OR o._there IS DISTINCT FROM n._there) THEN "o"."latest"::text END, CASE WHEN ("o"."latest" IS DISTINCT FROM "n"."latest" OR o._there IS DISTINCT FROM n._there) THEN "n"."latest"::text END, NULL::numeric), ('latest_at', false, ("o"."latest_at" IS DISTINCT FROM "n"."latest_at" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."latest_at" IS DISTINCT FROM "n"."latest_at" OR o._there IS DISTINCT FROM n._there) THEN "o"."latest_at"::text END, CASE WHEN ("o"."latest_at" IS DISTINCT FROM "n"."latest_at" OR o._there IS DISTINCT FROM n._there) THEN "n"."latest_at"::text END, NULL::numeric), ('sizes', false, ("o"."sizes" IS DISTINCT FROM "n"."sizes" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."sizes" IS DISTINCT FROM "n"."sizes" OR o._there IS DISTINCT FROM n._there) THEN 'count ' || fleetgauge.tally_count("o"."sizes") || coalesce(', p50 ' || fleetgauge.tally_quantile("o"."sizes", 0.5) || ', p95 ' || fleetgauge.tally_quantile("o"."sizes", 0.95), '') END, CASE WHEN ("o"."sizes" IS DISTINCT FROM "n"."sizes" OR o._there IS DISTINCT FROM n._there) THEN 'count ' || fleetgauge.tally_count("n"."sizes") || coalesce(', p50 ' || fleetgauge.tally_quantile("n"."sizes", 0.5) || ', p95 ' || fleetgauge.tally_quantile("n"."sizes", 0.95), '') || CASE WHEN 'count ' || fleetgauge.tally_count("o"."sizes") || coalesce(', p50 ' || fleetgauge.tally_quantile("o"."sizes", 0.5) || ', p95 ' || fleetgauge.tally_quantile("o"."sizes", 0.95), '') = 'count ' || fleetgauge.tally_count("n"."sizes") || coalesce(', p50 ' || fleetgauge.tally_quantile("n"."sizes", 0.5) || ', p95 ' || fleetgauge.tally_quantile("n"."sizes", 0.95), '') THEN ' (of other values)' ELSE '' END END, NULL::numeric), ('sizes_unknown', true, ("o"."sizes_unknown" IS DISTINCT FROM "n"."sizes_unknown" OR o._there IS DISTINCT FROM n._there), CASE WHEN ("o"."sizes_unknown" IS DISTINCT FROM "n"."sizes_unknown" OR o._there IS DISTINCT FROM n._there) THEN "o"."sizes_unknown"::text END, CASE WHEN ("o"."sizes_unknown" IS DISTINCT FROM "n"."sizes_unknown" OR o._there IS DISTINCT FROM n._there) THEN "n"."sizes_unknown"::text END, coalesce("n"."sizes_unknown", 0)::numeric - coalesce("o"."sizes_unknown", 0)::numeric)) AS v(_measure, _adds, _differs, _before, _after, _change)
  WHERE _differs
) , counted AS (
  SELECT count(*) AS n
  FROM changed
) INSERT INTO fleetgauge.restatement (metric, version, level, grain, window_start, dimensions, measure, before, after, change, cells, reason, run_id)
SELECT %(metric)s::text,
  %(version)s::text,
  'hour',
  'hour',
  window_start,
  dimensions,
  _measure,
  _before,
  _after,
  _change,
  1,
  %(reason)s::text,
  %(run_id)s::bigint
FROM changed, counted
WHERE n <= 10000
UNION ALL
SELECT %(metric)s::text,
  %(version)s::text,
  'hour',
  'hour',
  window_start,
  NULL,
  _measure,
  sum(CASE WHEN _adds THEN _before::numeric END)::text,
  sum(CASE WHEN _adds THEN _after::numeric END)::text,
  sum(_change),
  count(*),
  %(reason)s::text,
  %(run_id)s::bigint
FROM changed, counted
WHERE n > 10000
GROUP BY window_start, _measure RETURNING window_start, dimensions::text, cells
