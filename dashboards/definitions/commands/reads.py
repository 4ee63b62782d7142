"""What the panels on commands read, and from which value on it is bad."""

from dashboards.frame import Filter, filter_link, of_range, stretch, where
from dashboards.panels import prop
from dashboards.views import of_metric

UID = "fleetgauge-commands"
FILTERS = (
    Filter("command_type", "Command", "device_command"),
    Filter("vehicle_model", "Vehicle model", "device_command"),
    Filter("firmware", "Firmware", "device_command"),
    Filter("carrier", "Carrier", "device_command"),
)
VIEWS = of_metric("device_command", FILTERS)
BY_COMMAND = VIEWS.needing("command_type")
BY_FIRMWARE = VIEWS.needing("vehicle_model", "firmware")
BY_CARRIER = VIEWS.needing("carrier")
SOURCE = "Source: metrics.device_command_$grain, or its smallest subset that fits."

TRAFFIC_WHERE = where([FILTERS[0], FILTERS[3]])
"""Traffic knows neither model nor firmware, so cost follows the filters Command and Carrier only."""
REQUESTS = of_metric("device_command", [FILTERS[0], FILTERS[3]], prefix="stem_requests")
REQUESTS_BY_COMMAND = REQUESTS.needing("command_type")
"""Commands as far as cost follows them."""
COST_VIEW, COST = of_range("command_cost"), of_range("command_cost", "range")
COST_SOURCE = "Filtered by Command and Carrier only. Source: metrics.command_cost_$grain."

STRETCH, COST_STRETCH = stretch("device_command"), stretch("traffic")
BOTH = STRETCH + COST_STRETCH

COMMAND_CELLS = [filter_link(UID, "command_type", "Only this command", FILTERS), prop("custom.width", 140)]
"""How tables show their column of commands."""

MOST_FAILURES = 0.2
"""A cell of this rate is darkest. Nothing is alarming by itself: the alert compares a firmware with its usual rate."""
MOST_SERIES = 5
"""So many lines can be told apart where each has its own ups and downs."""
