"""MariaDB and MySQL: how we connect, and what each of their errors means. No other module imports the driver."""

from fleetgauge.mysql.mysql_database import MysqlDatabase, MysqlSession, mysql_source
from fleetgauge.mysql.mysql_text import literal, quoted

__all__ = ["MysqlDatabase", "MysqlSession", "literal", "mysql_source", "quoted"]
