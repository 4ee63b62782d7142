"""What of a report is shown and in which order, by path: tiles, sentences, charts, tables. Knows no way of showing."""

from collections.abc import Sequence
from typing import Any

from fleetgauge.reports.report_parts import ReportSection, ReportTable, TableColumn, Tile
from fleetgauge.reports.said import Number, Path, Said

_KIND_OF_VEHICLE = (
    TableColumn("Command", "command_type"),
    TableColumn("Carrier", "carrier"),
    TableColumn("Firmware", "firmware"),
    TableColumn("Model", "vehicle_model"),
)


def sections(report: dict[str, Any]) -> list[ReportSection]:
    """Those that the report has."""
    made = {"commands": _commands, "firmware": _firmware, "fleet": _fleet, "business": _business}
    return [make(report) for name, make in made.items() if report[name] is not None]


def about(report: dict[str, Any]) -> list[Said]:
    """Of which stretch the report is, and what in it may still change, is missing or is left out: a line each."""
    lines: list[Said] = [
        (
            Number(("range", "since"), "instant"),
            " to ",
            Number(("range", "until"), "instant"),
            f" ({report['range']['time_zone']}); trends are against the equally long period before it.",
        )
    ]
    for index, state in enumerate(report["states"]):
        lines += _about_metric(index, state)
    lines += [(f"No report on {name}: {why}.",) for name, why in report["missing"].items()]
    return lines


def _about_metric(index: int, state: dict[str, Any]) -> list[Said]:
    path, name = ("states", index), state["metric"]
    lines: list[Said] = []
    if state["data_until"] is None:
        return [(f"{name}: there are no numbers in this range.",)]
    if state["provisional_since"] is not None:
        since = Number((*path, "provisional_since"), "instant")
        lines.append((f"{name}: provisional in parts from ", since, " on; those numbers may still change."))
    else:
        lines.append((f"{name}: final.",))
    if not state["before_covered"]:
        since = Number((*path, "data_since"), "instant")
        lines.append((f"{name}: its numbers begin ", since, ", so there is no whole period before and no trend."))
    if state["stretch"]:
        lines.append((f"{name}: finer rows have expired at an edge; what is summed is {state['stretch']}.",))
    for at, one in enumerate(state["left_out"]):
        rows = Number((*path, "left_out", at, "rows"), "count")
        lines.append((f"{name}: ", rows, f" rows of the source are in no number ({one['reason']})."))
    return lines


def _commands(report: dict[str, Any]) -> ReportSection:
    own, path = report["commands"], ("commands",)
    lead: list[str | Number] = []
    if own["costliest"] and own["cost"]:
        top = own["costliest"][0]
        lead += [
            f"{top['command_type']} over {top['carrier']} costs most: ",
            Number((*path, "costliest", 0, "cost"), "money"),
            " KRW, ",
            Number((*path, "costliest", 0, "share"), "percent"),
            " of all traffic of commands. ",
        ]
    if own["hot_spots"]:
        lead += [
            Number((*path, "hot_spots_in_all"), "count"),
            " of ",
            Number((*path, "compared"), "count"),
            " kinds of command and vehicle surely fail more than the same command elsewhere.",
        ]
    else:
        lead += [
            "None of ",
            Number((*path, "compared"), "count"),
            " kinds of command and vehicle surely fails more than the same command elsewhere.",
        ]
    unpriced: Said = (
        (Number((*path, "unpriced"), "count"), " messages have no price; their cost is missing")
        if own["unpriced"]
        else ()
    )
    if own["by_sim"]:
        by_sim = (
            Number((*path, "by_sim"), "count"),
            " messages of days in part are charged by SIM and whole days, so their cost is not in it",
        )
        unpriced = (*unpriced, *(("; ",) if unpriced else ()), *by_sim)
    was: Said = () if own["rate_before"] is None else ("before: ", Number((*path, "rate_before"), "percent"))
    tiles = (
        Tile("Commands", Number((*path, "requested"), "count")),
        Tile("Failure rate", Number((*path, "rate"), "percent"), note=was),
        Tile("Cost, KRW", Number((*path, "cost"), "money"), Number((*path, "change"), "change"), unpriced),
    )
    return ReportSection(
        "commands",
        "Commands",
        tuple(lead),
        tiles,
        (
            ReportTable(
                "What costs most",
                (*path, "costliest"),
                (
                    TableColumn("Command", "command_type"),
                    TableColumn("Carrier", "carrier"),
                    TableColumn("Cost, KRW", "cost", "money"),
                    TableColumn("Share", "share", "percent"),
                    TableColumn("Trend", "change", "change"),
                    TableColumn("Messages", "messages", "count", minor=True),
                    TableColumn("Payload", "bytes", "bytes", minor=True),
                    TableColumn("Billed", "billed_bytes", "bytes", minor=True),
                    TableColumn("Unpriced", "unpriced", "count", minor=True),
                ),
                ("Exact sums, as on the dashboards, of commands alone. Trend: against the period before.",),
                "no message was sent",
                12,
            ),
            ReportTable(
                "Everything over the air",
                (*path, "air"),
                (
                    TableColumn("What", "stream"),
                    TableColumn("Kind", "kind"),
                    TableColumn("Cost, KRW", "cost", "money"),
                    TableColumn("Share", "share", "percent"),
                    TableColumn("Messages", "messages", "count", minor=True),
                    TableColumn("Payload", "bytes", "bytes", minor=True),
                    TableColumn("Unpriced", "unpriced", "count", minor=True),
                ),
                (
                    "Telemetry and commands, ",
                    Number((*path, "air_cost"), "money"),
                    " KRW in all. What is charged by SIM and day or month is shared out by volume.",
                ),
                "nothing went over the air",
            ),
            ReportTable(
                "… on which firmware and model",
                (*path, "cells"),
                (
                    *_KIND_OF_VEHICLE,
                    TableColumn("Cost, KRW", "cost", "money"),
                    TableColumn("Share", "share", "percent", minor=True),
                    TableColumn("Trend", "change", "change"),
                    TableColumn("Commands", "requested", "count", minor=True),
                    TableColumn("Failure rate", "rate", "percent"),
                    TableColumn("95 % interval", "low", "percent", high="high", minor=True),
                ),
                (
                    "Traffic is not counted by firmware and model: the cost of a command over a carrier is attributed"
                    " by the attempts made. The costliest of ",
                    Number((*path, "cells_in_all"), "count"),
                    ".",
                ),
                "no command was sent",
            ),
            ReportTable(
                "Hot spots",
                (*path, "hot_spots"),
                (
                    *_KIND_OF_VEHICLE,
                    TableColumn("Commands", "requested", "count", minor=True),
                    TableColumn("Failure rate", "rate", "percent"),
                    TableColumn("Interval", "low", "percent", high="high"),
                    TableColumn("Elsewhere", "elsewhere", "percent"),
                    TableColumn("Too many", "excess", "average", minor=True),
                ),
                (
                    "Wilson intervals that hold for all kinds together with 95 %, so that small samples do not shout."
                    " Elsewhere: the same command on all other vehicles. * stands for all.",
                ),
                "none: no kind of command and vehicle surely fails more than the same command elsewhere",
            ),
            ReportTable(
                "Failure rate by command",
                (*path, "rates"),
                (
                    TableColumn("Command", "command_type"),
                    TableColumn("Commands", "requested", "count"),
                    TableColumn("Failed", "unsuccessful", "count", minor=True),
                    TableColumn("Failure rate", "rate", "percent"),
                    TableColumn("95 % interval", "low", "percent", high="high"),
                    TableColumn("Before", "rate_before", "percent", minor=True),
                ),
                (),
                "no command was sent",
            ),
        ),
        ("cost_by_command", "cost_over_time", "failure_over_time", "failure_by_command"),
    )


def _firmware(report: dict[str, Any]) -> ReportSection:
    own, path = report["firmware"], ("firmware",)
    lead: list[str | Number] = []
    if own["worst"] is None:
        lead += ["No version is surely worse than the one before it"]
        lead += [" (", Number((*path, "compared"), "count"), " comparisons)."]
    else:
        index = next(
            i
            for i, one in enumerate(own["comparisons"])
            if one["firmware"] == own["worst"] and one["verdict"] == "worse"
        )
        one, row = own["comparisons"][index], (*path, "comparisons", index)
        where = "" if one["scope"] == "all" else f" at {one['value']}"
        lead += [
            f"Firmware {one['firmware']} fails more than {one['before']}{where}: ",
            Number((*row, "rate"), "percent"),
            " against ",
            Number((*row, "rate_before"), "percent"),
            " on the same mix of commands, models and carriers.",
        ]
    if own["not_compared"]:
        lead += [f" Nothing lower to compare with: {', '.join(own['not_compared'])}."]
    if own["left_out"]:
        lead += [" Left out: ", Number((*path, "left_out"), "count"), " commands whose firmware is not known by name."]
    return ReportSection(
        "firmware",
        "Firmware",
        tuple(lead),
        (),
        (
            ReportTable(
                "Each version against the one before",
                (*path, "comparisons"),
                (
                    TableColumn("Firmware", "firmware"),
                    TableColumn("Before", "before"),
                    TableColumn("Of", "value"),
                    TableColumn("Verdict", "verdict"),
                    TableColumn("Rate", "rate", "percent", minor=True),
                    TableColumn("Rate before", "rate_before", "percent", minor=True),
                    TableColumn("Difference", "difference", "points"),
                    TableColumn("95 % interval", "low", "points", high="high", minor=True),
                    TableColumn("p, corrected", "p_value", "probability", minor=True),
                    TableColumn("Commands", "commands", "count", minor=True),
                    TableColumn("To be sure", "needed", "count"),
                    TableColumn("… of", "needed_for", "points", minor=True),
                ),
                (
                    "Stratified by command, model and carrier (Mantel-Haenszel), so that another mix is no regression;"
                    " p-values are corrected for all ",
                    Number((*path, "compared"), "count"),
                    " comparisons (Holm): at most ",
                    Number((*path, "alpha"), "percent"),
                    " of reports accuse a sound version. To be sure: commands of each version that would show the"
                    " difference in the last column with a power of ",
                    Number((*path, "power"), "percent"),
                    ". The first rows of the list; JSON has all.",
                ),
                "there are no two versions to compare",
                14,
            ),
        ),
        ("firmware_differences", "firmware_by_model"),
    )


def _fleet(report: dict[str, Any]) -> ReportSection:
    own, path = report["fleet"], ("fleet",)
    lead: list[str | Number] = []
    if own["as_of"] is None:
        lead += ["No day was looked at for vehicles that stop suddenly (fleetgauge fleet run does it)."]
    elif not own["suspects_in_all"]:
        lead += [f"No vehicle is a suspect as of {own['as_of']}."]
    else:
        lead += [Number((*path, "suspects_in_all"), "count")]
        lead += [f" vehicles may stop while somebody rides them, as of {own['as_of']}."]
    if own["silence"]:
        lead += [f" Silent vehicles are not listed: {own['silence']}."]
    elif own["silent_in_all"]:
        lead += [" ", Number((*path, "silent_in_all"), "count"), f" were silent at the end of {own['silent_on']}."]
    else:
        lead += [f" No vehicle was silent at the end of {own['silent_on']}."]
    tables: list[ReportTable] = [
        ReportTable(
            "Suspects",
            (*path, "suspects"),
            (
                TableColumn("Vehicle", "vehicle"),
                TableColumn("Score", "score", "score"),
                TableColumn("Probability", "probability", "percent"),
                TableColumn("Last", "last", minor=True),
                TableColumn("For the most part because", "because", "prose"),
            ),
            (),
            "none",
        )
    ]
    if not own["silence"]:
        tables.append(
            ReportTable(
                "Silent vehicles",
                (*path, "silent"),
                (
                    TableColumn("Vehicle", "vehicle"),
                    TableColumn("Last heard", "heard"),
                    TableColumn("Hours since", "quiet_hours", "average"),
                    TableColumn("Usually quiet for", "usual_hours", "average"),
                    TableColumn("Usual reports a day", "usual_reports", "average", minor=True),
                ),
                (
                    "Quiet for three times as long as each usually is, and an hour at least. The longest silent of ",
                    Number((*path, "silent_in_all"), "count"),
                    ".",
                ),
                "none",
            )
        )
    if own["precision"]:
        tables.append(
            ReportTable(
                "What mechanics found",
                (*path, "precision"),
                (
                    TableColumn("Month", "month"),
                    TableColumn("Repaired", "repaired", "count"),
                    TableColumn("Suspects", "suspects", "count"),
                    TableColumn("With a fault", "found", "count"),
                    TableColumn("Missed", "missed", "count"),
                ),
            )
        )
    tables.append(
        ReportTable(
            "What vehicles were doing, on average",
            (*path, "states"),
            (
                TableColumn("State", "vehicle_state"),
                TableColumn("Vehicles", "vehicles", "average"),
                TableColumn("Before", "vehicles_before", "average"),
            ),
            (),
            "there is no metric of vehicle states",
        )
    )
    return ReportSection("fleet", "Fleet", tuple(lead), (), tuple(tables), ("vehicle_states",))


def _business(report: dict[str, Any]) -> ReportSection:
    own, path = report["business"], ("business",)
    out = [one["name"] for one in (*own["zones"], *own["models"]) if one["stands_out"]]
    lead: Said = (
        Number((*path, "started"), "count"),
        " rentals brought ",
        Number((*path, "revenue"), "money"),
        " KRW after refunds. ",
        f"More is refunded than elsewhere: {', '.join(out)}."
        if out
        else "No zone and no model has surely more refunds.",
    )
    tiles = (
        Tile("Rentals", Number((*path, "started"), "count"), Number((*path, "change"), "change")),
        Tile("Revenue, KRW", Number((*path, "revenue"), "money"), Number((*path, "revenue_change"), "change")),
        Tile("Refunded", Number((*path, "refund_rate"), "percent")),
    )
    return ReportSection(
        "business",
        "Business",
        lead,
        tiles,
        (_rentals("By zone", "Zone", (*path, "zones")), _rentals("By model", "Model", (*path, "models"))),
        ("rentals_over_time", "revenue_by_zone"),
    )


def _rentals(title: str, heading: str, rows: Path) -> ReportTable:
    return ReportTable(
        title,
        rows,
        (
            TableColumn(heading, "name"),
            TableColumn("Rentals", "started", "count"),
            TableColumn("Trend", "change", "change"),
            TableColumn("Revenue, KRW", "revenue", "money"),
            TableColumn("Refunded", "refund_rate", "percent", minor=True),
            TableColumn("Interval", "low", "percent", high="high", minor=True),
        ),
        ("Intervals of the refund rate hold for all rows together with 95 %.",),
        "no rental was started",
    )


def cells_of(table: ReportTable, index: int) -> Sequence[Said]:
    """The cells of one row, by path."""
    row = (*table.rows, index)
    return [
        (Number((*row, one.key), one.kind), " to ", Number((*row, one.high), one.kind))
        if one.high
        else (Number((*row, one.key), one.kind),)
        for one in table.columns
    ]
