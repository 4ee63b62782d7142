-- Optional; run once on the production primary, by a superuser, in the database that the pipeline reads. It lets the
-- pipeline's login see which statements keep the replica busy, for the dashboard Query insight: their text without its
-- values, and counts. The role pg_read_all_stats would show it the values too, in pg_stat_activity.
--
-- The replica must load the module: shared_preload_libraries = 'pg_stat_statements' (RDS: in the parameter group). Then, here,
--     CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
-- Where that is not so, the function fails when it is called, and the dashboard says no data.

CREATE OR REPLACE FUNCTION fleetgauge_statements() RETURNS TABLE (
    id bigint, login text, statement text, calls bigint, seconds double precision, row_count bigint,
    blocks_read bigint, temp_blocks bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT s.queryid, r.rolname::text, left(regexp_replace(s.query, ''\s+'', '' '', ''g''), 160),'
        ' sum(s.calls)::bigint, sum(s.total_exec_time) / 1000, sum(s.rows)::bigint, sum(s.shared_blks_read)::bigint,'
        ' sum(s.temp_blks_read + s.temp_blks_written)::bigint'
        ' FROM %s AS s LEFT JOIN pg_roles AS r ON r.oid = s.userid'
        ' WHERE s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())'
        ' GROUP BY 1, 2, 3',
        coalesce((SELECT format('%I.pg_stat_statements', n.nspname) FROM pg_extension AS e
            INNER JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'),
            'public.pg_stat_statements'));
END $$;

REVOKE ALL ON FUNCTION fleetgauge_statements() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION fleetgauge_statements() TO fleetgauge_reader;
