"""Which extra of the distribution brings a package that a command needs and does not find."""

from fleetgauge.errors import Terminal

EXTRAS = {
    "alembic": "rollup",
    "elasticsearch": "rollup",
    "numpy": "analytics",
    "opentelemetry": "tracing",
    "pandas": "analytics",
    "jinja2": "report",
    "markupsafe": "report",
    "psycopg": "rollup",
    "pymysql": "mysql",
    "pyarrow": "analytics",
    "sentry_sdk": "sentry",
    "sqlalchemy": "rollup",
    "sqlglot": "rollup",
    "vl_convert": "report",
    "yaml": "rollup",
}
"""Top-level module to extra, for what is imported outside of the core's dependencies."""


def missing(error: ModuleNotFoundError) -> Terminal | None:
    """What to tell the user when an import failed; None if no extra would bring the module: a defect, not a setup."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(module)
    if extra is None:
        return None
    return Terminal(
        f"this command needs the package {module}, which is not installed; "
        f"install the extra that brings it: pip install 'fleetgauge[{extra}]'"
    )
