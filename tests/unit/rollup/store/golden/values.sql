SELECT d.dimensions,
  v.*
FROM "store"."ride_hour__VERSION" AS n
CROSS JOIN LATERAL (VALUES (jsonb_build_object('zone', n."zone", 'kind', n."kind"))) AS d(dimensions)
CROSS JOIN LATERAL (VALUES ('n', "n"."n"::text), ('amount', "n"."amount"::text), ('most', "n"."most"::text), ('score', 'count ' || fleetgauge.sketch_count("n"."score") || coalesce(', p50 ' || fleetgauge.quantile("n"."score", 0.5) || ', p95 ' || fleetgauge.quantile("n"."score", 0.95), '')), ('riders', fleetgauge.distinct("n"."riders")::text), ('latest', "n"."latest"::text), ('latest_at', "n"."latest_at"::text), ('sizes', 'count ' || fleetgauge.tally_count("n"."sizes") || coalesce(', p50 ' || fleetgauge.tally_quantile("n"."sizes", 0.5) || ', p95 ' || fleetgauge.tally_quantile("n"."sizes", 0.95), '')), ('sizes_unknown', "n"."sizes_unknown"::text)) AS v(_measure, _value)
WHERE n.window_start = %(window)s AND d.dimensions @> %(where)s
ORDER BY 1, 2
LIMIT %(limit)s
