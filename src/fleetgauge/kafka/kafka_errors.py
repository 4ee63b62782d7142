"""What an error of Kafka means: the one reading, for whoever reads, writes or asks."""

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaConfigurationError,
    KafkaError,
    PolicyViolationError,
    SaslAuthenticationFailedError,
    UnrecognizedBrokerVersion,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)

from fleetgauge.errors import Conflict, FleetgaugeError, Stop, Terminal

_LOGIN = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError)
_CONFIGURED = (
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaConfigurationError,
    PolicyViolationError,
    UnrecognizedBrokerVersion,
    UnsupportedVersionError,
)


def translate(error: KafkaError | OSError, what: str, rights: str) -> FleetgaugeError:
    """The error as ours. `what`: what failed, and where; `rights`: what the login needs for it, as "READ the topic".

    Refused credentials and rights are `Stop`, as everywhere, and so is what nobody knows; what Kafka itself calls worth
    a second try is `Conflict`, a `Transient`.
    """
    name, said = type(error).__name__, (str(error).strip().splitlines() or [""])[0]
    told = f"{what}: {said}" if name in said else f"{what}: {name}: {said}"
    if isinstance(error, AuthorizationError) or "AuthorizationFailed" in said:  # a producer wraps it
        return Stop(f"{told}; give the login the right to {rights}")
    if isinstance(error, _LOGIN):
        return Stop(f"{told}; check kafka.username, kafka.password and kafka.sasl_mechanism")
    if isinstance(error, _CONFIGURED):
        return Terminal(f"{told}; correct the topic, the settings under kafka, or the broker's version")
    if isinstance(error, OSError) or error.retriable:
        return Conflict(f"{told}; check that Kafka runs there, then try again")
    return Stop(f"{told}; this answer is not known, so nothing is done about it: see the broker's log")
