"""What a refusal of Elasticsearch means for a whole request: the one reading, over the table in `answers`."""

from collections.abc import Iterator
from contextlib import contextmanager

from elastic_transport import ApiError, SerializationError, TlsError, TransportError

from fleetgauge.elasticsearch.answers import Class, classify
from fleetgauge.errors import Conflict, FleetgaugeError, Stop, Terminal


class Forbidden(Stop):
    """The login is known, but may not do this."""


def refusal(status: int, kind: str, reason: str, what: str, rights: str) -> FleetgaugeError:
    """The error for an answer that is no success. `what`: what was asked, and where; `rights`: what a login needs."""
    told = f"{what} {status} {kind}: {reason}".rstrip(": ")
    rule = classify(status, kind, reason)
    if rule.outcome is Class.RETRY:
        return Conflict(f"{told} ({rule.because}); try again later")
    if status >= 500 or status == 408 or (status == 404 and kind in _EXPIRED):
        return Conflict(f"{told}; it goes on when its shards are well; look into Elasticsearch's log if not")
    if status == 401:
        return Stop(f"{told}; check elasticsearch.api_key, or username and password")
    if status == 403:
        return Forbidden(f"{told}; {rights}")
    return Terminal(f"{told}; correct what it names")


_EXPIRED = ("search_context_missing_exception", "search_phase_execution_exception")
"""A point in time that took too long; whoever starts again gets another."""


def translate(error: ApiError | TransportError, what: str, rights: str) -> FleetgaugeError:
    """The error of a client as ours; see `refusal`."""
    if isinstance(error, TlsError):
        return Stop(f"{what}: it is not trusted: {error.message}; check elasticsearch.ca_file and elasticsearch.url")
    if isinstance(error, SerializationError):
        return Conflict(f"{what}: an answer is not what Elasticsearch says; is a proxy in between?")
    if isinstance(error, TransportError):
        said = f"{type(error).__name__}"
        return Conflict(f"{what}: it gave no answer ({said}); check that Elasticsearch runs there, then try again")
    status = error.meta.status
    if 200 <= status < 300:  # the client looks at a header of the answer
        return Stop(f"{what}: what answers is not Elasticsearch; check elasticsearch.url")
    return refusal(status, *_told(error.body), f"{what}:", rights)


@contextmanager
def translated(what: str, rights: str) -> Iterator[None]:
    """A client's errors inside come out as ours."""
    try:
        yield
    except (ApiError, TransportError) as error:
        raise translate(error, what, rights) from error


def kind_of(error: ApiError) -> str:
    """The type of the error by which Elasticsearch refused."""
    return _told(error.body)[0]


def reason_of(error: ApiError) -> str:
    """Why Elasticsearch refused, in its words."""
    return _told(error.body)[1]


def _told(body: object) -> tuple[str, str]:
    found = body.get("error") if isinstance(body, dict) else None
    if isinstance(found, dict):
        cause = found.get("caused_by")
        said = found.get("reason") or (cause.get("reason") if isinstance(cause, dict) else None)
        reason, index = str(said or ""), found.get("index")
        if failed := _of_a_shard(found.get("failed_shards")):
            return str(found.get("type", "unknown")), f"{reason}: {failed}"
        return str(found.get("type", "unknown")), reason if not index or str(index) in reason else f"{reason} [{index}]"
    return "unknown", str(found or "")[:200]


def _of_a_shard(failed: object) -> str:
    """Where a search of many indices failed, and why: the whole says only that a part did."""
    first = failed[0] if isinstance(failed, list) and failed else None
    if not isinstance(first, dict) or not isinstance(first.get("reason"), dict):
        return ""
    return f"{str(first['reason'].get('reason', ''))[:_LONGEST]} [{first.get('index')}]"


_LONGEST = 300
"""Characters of a reason that are told."""
