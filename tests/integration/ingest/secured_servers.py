"""A Kafka broker and an Elasticsearch node that trust nobody: TLS, logins, access rules; certificates of an own CA."""

import base64
import hashlib
import ipaddress
import secrets
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    NewTopic,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from laboratory_folder import fast_folder
from pydantic import SecretStr

from fleetgauge.elasticsearch.transport import ElasticsearchBulk
from fleetgauge.kafka.kafka_clients import client_options
from fleetgauge.settings import ElasticsearchSettings, KafkaSettings
from fleetlab.stack import Silent, Stack, default_cache, elasticsearch, kafka, layout, ports, project_root
from fleetlab.stack.context import Context, Secrets
from fleetlab.stack.guard import Guard
from fleetlab.stack.java import find_jdk
from fleetlab.stack.ports import LOOPBACK
from fleetlab.stack.processes import Processes

ROLES = project_root() / "deploy" / "elasticsearch" / "roles.yml"
_PORTS = (*kafka.PORTS, "kafka-mtls", *elasticsearch.PORTS)


class Authority:
    """Signs certificates for loopback. Files are readable by all: the servers run under another account."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca_file = folder / f"{name}.pem"
        own = self._certificate(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.ca_file.write_bytes(own)

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of `CN=name`, good for a server on loopback and for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        cert_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        cert_file.write_bytes(self._certificate(subject, key, x509.BasicConstraints(ca=False, path_length=None)))
        key_file.write_bytes(pem)
        return cert_file, key_file

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, constraints: x509.BasicConstraints
    ) -> bytes:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(constraints, critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Grant:
    """What a login may do with one thing of Kafka."""

    login: str
    operation: ACLOperation
    kind: ResourceType
    name: str


@dataclass(frozen=True)
class Secured:
    """The two servers and who may log in. Passwords are random, so a text that holds one has leaked it."""

    folder: Path
    authority: Authority
    ports: dict[str, int]
    passwords: dict[str, str]
    """By login, for both servers."""
    nodes: dict[str, ElasticsearchBulk] = field(default_factory=dict)

    def kafka(self, login: str, mechanism: Any = "SCRAM-SHA-512", **changes: Any) -> KafkaSettings:
        """The settings of `login`."""
        values = {
            "bootstrap_servers": f"{LOOPBACK}:{self.ports['kafka']}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": mechanism,
            "username": login,
            "password": SecretStr(self.passwords[login]),
            "ca_file": self.authority.ca_file,
        }
        return KafkaSettings(**{**values, **changes})

    def elasticsearch(self, login: str, **changes: Any) -> ElasticsearchSettings:
        """The settings of `login`."""
        values = {
            "url": f"https://{LOOPBACK}:{self.ports['elasticsearch']}",
            "username": login,
            "password": SecretStr(self.passwords[login]),
            "ca_file": self.authority.ca_file,
        }
        return ElasticsearchSettings(**{**values, **changes})

    def node(self, login: str) -> ElasticsearchBulk:
        """Elasticsearch as `login`; closed at the end."""
        if login not in self.nodes:
            self.nodes[login] = ElasticsearchBulk(self.elasticsearch(login))
        return self.nodes[login]

    @cached_property
    def admin(self) -> KafkaAdminClient:
        """Kafka as its operator; close it at the end."""
        return KafkaAdminClient(**client_options(self.kafka("operator", "PLAIN"), 30))

    def topic(self, name: str, partitions: int) -> None:
        """Create a topic."""
        self.admin.create_topics(
            [NewTopic(name, partitions, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})]
        )

    def grant(self, grants: Sequence[Grant]) -> None:
        """Allow this."""
        made = self.admin.create_acls([_rule(grant) for grant in grants])
        assert len(made["succeeded"]) == len(grants), made


def _rule(grant: Grant) -> ACL:
    pattern = ResourcePattern(grant.kind, grant.name)
    return ACL(f"User:{grant.login}", "*", grant.operation, ACLPermissionType.ALLOW, pattern)


@contextmanager
def secured(scram: Sequence[str], roles: dict[str, str], more_roles: str = "") -> Iterator[Secured]:
    """Both servers, started side by side. `scram`: logins of Kafka; `roles`: login of Elasticsearch → its role.

    The login `operator` may do everything in both. `more_roles` follows the roles of the project.
    """
    home = Path(tempfile.mkdtemp(prefix="fleetlab-secured-", dir=fast_folder()))
    home.chmod(0o755)  # else root's servers, which run as nobody, would need copies of all programs
    stack = Stack(home)
    try:
        folders = layout.prepare(home)
        guard = Guard.start(home, wipe=True, keep=[])
        made = Secured(
            home,
            Authority(home, "fleet-ca"),
            ports.choose(list(_PORTS), asked={}, before={}),
            {login: secrets.token_urlsafe(18) for login in {"operator", *scram, *roles}},
        )
        processes = Processes(folders)
        context = Context(
            folders, processes, default_cache(), Silent(), Secrets(folders.run, ()), made.ports, project_root()
        )
        jdk = find_jdk()
        variant = _elasticsearch(made, roles, more_roles)
        try:
            with ThreadPoolExecutor(2) as pool:
                node = pool.submit(elasticsearch.start, context, jdk, variant)
                kafka.start(context, jdk, settings=_kafka(made))
                logins = [
                    UserScramCredentialUpsertion(
                        login, ScramMechanism.SCRAM_SHA_512, made.passwords[login], iterations=4096
                    )
                    for login in scram
                ]
                refused = made.admin.alter_user_scram_credentials(logins)
                assert not any(refused.values()), refused
                node.result()
            yield made
            made.admin.close()
            for node_of_login in made.nodes.values():
                node_of_login.close()
        finally:
            processes.cancel()
            stack.down(wipe=True)
            guard.release()
    finally:
        for left in sorted(home.rglob("*"), reverse=True):
            left.unlink() if not left.is_dir() else left.rmdir()
        home.rmdir()


def _kafka(made: Secured) -> dict[str, object]:
    """A listener for logins, and one for client certificates, which the broker itself uses as well."""
    cert_file, key_file = made.authority.issue("broker")
    keystore = made.folder / "broker.pem"
    keystore.write_bytes(key_file.read_bytes() + cert_file.read_bytes())
    login, mutual, controller = (f"{LOOPBACK}:{made.ports[name]}" for name in ("kafka", "kafka-mtls", kafka.PORTS[1]))
    module = "org.apache.kafka.common.security"
    operator = made.passwords["operator"]
    return {
        "listeners": f"SASL_SSL://{login},SSL://{mutual},CONTROLLER://{controller}",
        "advertised.listeners": f"SASL_SSL://{login},SSL://{mutual}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": (
            f'{module}.plain.PlainLoginModule required user_operator="{operator}";'
        ),
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": keystore,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": made.authority.ca_file,
        "listener.name.ssl.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:operator;User:CN=broker;User:ANONYMOUS",  # the last: the controller's own listener
    }


def _elasticsearch(made: Secured, roles: dict[str, str], more_roles: str) -> elasticsearch.Variant:
    cert_file, key_file = made.authority.issue("node")
    trust = ssl.create_default_context(cafile=made.authority.ca_file)
    login = base64.b64encode(f"operator:{made.passwords['operator']}".encode()).decode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    opener.addheaders = [("Authorization", f"Basic {login}")]

    def ask(path: str) -> bytes:
        with opener.open(f"https://{LOOPBACK}:{made.ports['elasticsearch']}{path}", timeout=5) as answer:
            return bytes(answer.read())

    held = {"operator": "superuser", **roles}
    return elasticsearch.Variant(
        ask,
        settings={
            "xpack.security.enabled": "true",
            "xpack.security.authc.realms.file.file1.order": "0",
            "xpack.security.http.ssl.enabled": "true",
            "xpack.security.http.ssl.certificate": "node.crt",
            "xpack.security.http.ssl.key": "node.key",
        },
        files={
            "node.crt": cert_file.read_text(),
            "node.key": key_file.read_text(),
            "roles.yml": ROLES.read_text(encoding="utf-8") + more_roles,
            "users": "".join(f"{login}:{_hashed(made.passwords[login])}\n" for login in held),
            "users_roles": "".join(f"{role}:{login}\n" for login, role in held.items()),
        },
        heap="512m",
    )


def _hashed(password: str) -> str:
    """As the file `users` holds it."""
    salt, rounds = secrets.token_bytes(32), 1000
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds, dklen=32)
    return f"{{PBKDF2}}{rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
