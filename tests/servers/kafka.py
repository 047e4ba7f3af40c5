"""An Apache Kafka of the tests' own: one KRaft node on free ports of loopback, from the jars that Maven resolves."""

from __future__ import annotations

import base64
import fcntl
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from headrace.kafka import KafkaConnection
from tests.waits import wait_until

__all__ = ["WITH_RIGHTS", "ApacheKafka", "KafkaMissingError", "resolve_jars"]

_POM = Path(__file__).with_name("pom.xml")
_READY_S = 120.0
_STOP_S = 30.0
_JAVA = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
"""Quiet, and quick to start: what the best compiler saves later is less than what it costs in the life of a test."""

# A topic's records may be as large and as old as a test likes; retention and compaction run often.
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "500",
    "log.cleaner.backoff.ms": "500",
    "message.max.bytes": "20000000",
}


WITH_RIGHTS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
"""Settings of a broker that asks who may do what. Who is named by no rule may do everything."""


class KafkaMissingError(Exception):
    """Java or Maven is not installed."""


def resolve_jars(folder: Path) -> str:
    """The class path of Apache Kafka; Maven downloads what its local repository does not hold yet.

    Args:
        folder: Where the class path is kept for the next session.

    Raises:
        KafkaMissingError: Java or Maven is not installed.
    """
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        what = f"{' and '.join(missing)} not installed; on Debian: apt-get install default-jre-headless maven"
        raise KafkaMissingError(what)
    kept = folder / "classpath"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes run tests, and Maven's repository is one
        if not (kept.exists() and all(Path(jar).exists() for jar in kept.read_text().split(":"))):
            goal = ["dependency:build-classpath", f"-Dmdep.outputFile={kept}"]
            subprocess.run(["mvn", "-q", "-B", "-f", str(_POM), *goal], check=True, timeout=600, cwd=folder)
        return kept.read_text()


@dataclass
class ApacheKafka:
    """A broker process that can be stopped, killed and started again; its data stays in its folder meanwhile.

    Args:
        folder: Where its files go.
        classpath: See `resolve_jars`.
        settings: Broker settings, on top of those of all tests.
        listeners: Listeners beside the plain one, each with its security protocol.
        format_options: More words for Kafka's storage tool, which formats its folder.
        java_options: More words for Java.
    """

    folder: Path
    classpath: str
    settings: dict[str, str] = field(default_factory=dict)
    listeners: dict[str, str] = field(default_factory=dict)
    format_options: tuple[str, ...] = ()
    java_options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **self.listeners}
        self._ports = dict(zip(self._protocols, _free_ports(len(self._protocols)), strict=True))

    @property
    def address(self) -> str:
        """Its `host:port`, the same after a restart."""
        return self.address_of("PLAINTEXT")

    def address_of(self, listener: str) -> str:
        """The `host:port` of a listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    @property
    def connection(self) -> KafkaConnection:
        """How headrace connects to it."""
        return KafkaConnection.of(self.address)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        properties = self.folder / "server.properties"
        properties.write_text("\n".join(f"{name}={value}" for name, value in self._all_settings().items()))
        if not (self.folder / "data" / "meta.properties").exists():
            self._tool(
                "kafka.tools.StorageTool",
                "format",
                "-t",
                _new_cluster_id(),
                "-c",
                str(properties),
                *self.format_options,
            )
        log = (self.folder / "kafka.log").open("ab")
        with log:
            command = [
                "java",
                "-Xmx512m",
                *_JAVA,
                *self.java_options,
                "-cp",
                self.classpath,
                "kafka.Kafka",
                str(properties),
            ]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                msg = f"Apache Kafka does not come up:\n{(self.folder / 'kafka.log').read_text()[-4000:]}"
                raise RuntimeError(msg)

    def stop(self) -> None:
        """End it in order; its data stays."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        """End it at once; its data stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @cached_property
    def admin(self) -> AdminClient:
        """An admin client of it; kept, because its answers end with it."""
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def create_topic(self, name: str, partitions: int = 1, **config: str) -> None:
        """Create a topic; settings are named as Kafka does, with `_` for `.`.

        Records are kept however old their timestamps are, unless `retention_ms` says otherwise.
        """
        named = {setting.replace("_", "."): value for setting, value in {"retention_ms": "-1", **config}.items()}
        self.admin.create_topics([NewTopic(name, partitions, 1, config=named)])[name].result(_READY_S)
        self._wait_for(name, lambda found: len(found) == partitions and all(one.leader >= 0 for one in found.values()))

    def delete_topic(self, name: str) -> None:
        """Delete a topic."""
        self.admin.delete_topics([name])[name].result(_READY_S)
        self._wait_for(name, lambda found: not found)

    def _wait_for(self, topic: str, is_done: Callable[[dict[int, Any]], bool]) -> None:
        """The broker answers before its metadata follow: wait for them."""

        def follows() -> bool:
            found = self.admin.list_topics(timeout=_READY_S).topics.get(topic)
            return is_done(found.partitions if found is not None and found.error is None else {})

        wait_until(follows, f"the metadata of {topic}")

    def _all_settings(self) -> dict[str, str]:
        listeners = {name: f"{name}://{self.address_of(name)}" for name in self._protocols}
        own = {
            "listeners": ",".join(listeners.values()),
            "advertised.listeners": ",".join(at for name, at in listeners.items() if name != "CONTROLLER"),
            "listener.security.protocol.map": ",".join(f"{name}:{is_}" for name, is_ in self._protocols.items()),
            "controller.quorum.voters": f"1@{self.address_of('CONTROLLER')}",
            "log.dirs": str(self.folder / "data"),
        }
        return _SETTINGS | own | self.settings

    def _tool(self, *words: str) -> str:
        command = ["java", "-Xmx128m", *_JAVA, "-cp", self.classpath, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_READY_S, cwd=self.folder, check=False)
        if done.returncode:
            msg = f"{' '.join(words[:2])} failed:\n{done.stdout}{done.stderr}"
            raise RuntimeError(msg)
        return done.stdout

    def _answers(self) -> bool:
        try:
            return bool(self.admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _new_cluster_id() -> str:
    """An id as Kafka writes them. It must not begin with a dash; its first byte is 0, and so it begins with an A."""
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
