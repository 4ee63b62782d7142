"""Which functions must not stand in source.sql, by the dialect that it is written in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fleetgauge.rollup.definitions.sql_words import Dialect


@dataclass(frozen=True)
class Unfit:
    """Names in lower case."""

    side_effects: re.Pattern[str]
    """Functions that do something besides computing a value, or run text as SQL."""
    of_the_moment: re.Pattern[str]
    """Functions whose value depends on when, by whom or how often they are called."""
    words: frozenset[str]
    """The same, where they are written without parentheses."""
    of_a_copy: frozenset[str]
    """Columns of a row's copy, which every update and every rewrite of the table makes anew."""
    from_now: Mapping[str, int]
    """Functions that count from now when they have so many arguments."""


POSTGRES = Unfit(
    side_effects=re.compile(
        r"dblink\w*|lo_\w+|pg_(read|write|ls|stat)_(binary_)?(file|dir|\w+dir)|pg_(terminate|cancel)_backend|pg_sleep\w*"
        r"|pg_(try_)?advisory_\w+|pg_notify|pg_reload_conf|pg_rotate_logfile|pg_promote|pg_switch_wal|pg_wal_replay_\w+"
        r"|pg_create_\w+|pg_drop_\w+|pg_logical_\w+|set_config|nextval|setval|setseed|query_to_xml\w*|cursor_to_xml\w*"
        r"|table_to_xml\w*|schema_to_xml\w*|database_to_xml\w*|pg_export_snapshot|pg_stat_reset\w*"
    ),
    of_the_moment=re.compile(
        r"now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|random|random_normal|gen_random_\w+"
        r"|uuid_generate_\w+|uuidv[47]|txid_\w+|pg_current_\w+|pg_backend_pid|pg_postmaster_start_time|pg_conf_load_time"
        r"|pg_is_in_recovery|pg_last_\w+|pg_xact_\w+|pg_visible_in_snapshot|pg_(total_)?(relation|database|table|indexes)_size"
        r"|currval|lastval|inet_\w+_(addr|port)|current_setting|version|getpgusername|pg_my_\w+"
    ),
    words=frozenset(
        {
            "current_date",
            "current_time",
            "current_timestamp",
            "localtime",
            "localtimestamp",
            "current_user",
            "current_role",
            "session_user",
            "user",
            "current_catalog",
            "current_schema",
        }
    ),
    of_a_copy=frozenset({"ctid", "xmin", "xmax", "cmin", "cmax"}),
    from_now={"age": 1},
)
MYSQL = Unfit(
    side_effects=re.compile(
        r"sleep|benchmark|load_file|get_lock|release_(all_)?locks?|is_(free|used)_lock|nextval|setval|last_insert_id"
        r"|(master|source)_(pos|gtid)_wait|wait_(for_executed_gtid_set|until_sql_thread_after_gtids)|sys_exec|sys_eval"
    ),
    of_the_moment=re.compile(
        r"now|sysdate|curdate|curtime|current_(date|time|timestamp|user|role)|localtime(stamp)?|utc_(date|time|timestamp)"
        r"|rand|random_bytes|uuid(_short|_v[47])?|sys_guid|connection_id|(session_|system_)?user|version|lastval|found_rows"
        r"|row_count|encrypt|database|schema|gtid_\w+|binlog_gtid_pos|icu_version|ps_current_thread_id"
    ),
    words=frozenset(
        {"current_date", "current_time", "current_timestamp", "current_user", "current_role", "localtime"}
        | {"localtimestamp", "utc_date", "utc_time", "utc_timestamp"}
    ),
    of_a_copy=frozenset(),
    from_now={"unix_timestamp": 0},
)
BY_DIALECT: Mapping[Dialect, Unfit] = {"postgres": POSTGRES, "mysql": MYSQL}
