"""A project's settings: `headrace.toml` at its root. An environment variable can set each value.

[headrace]
repo = "feature_repo"       # the Feast repo, relative to this file
state = ".headrace"         # plan, embedded online store, log, registry
clock = "system"            # or "record": an event is known at its Kafka record's timestamp (replays of history)
broker = "embedded"         # or "host:port[,host:port]"
store = "lmdb"              # or "redis://host:port/db"
partitions = 3              # of topics that headrace creates
group = "headrace"          # the workers' consumer group
session_timeout = 6.0       # seconds of silence after which a worker's partitions go to others
metadata_refresh = 5.0      # seconds after which new partitions of a topic are noticed
handoff_chunk = 20_000      # events of the log that a view's new version is built from at a time

[kafka]                     # how to connect to the broker: docs/kafka.md has all settings
security_protocol = "PLAINTEXT"

[audit]
sample = 0.0                # the share of lookups recorded for `headrace audit`

[log]
small_files = 32            # the worker merges this many files of one date and about the same size; 0 merges none
target_mb = 64.0            # the wanted size of a merged file
uri = "s3://bucket/prefix"  # where the log is: an object store or a folder; by default `log` in the state folder

[log.options]               # Delta Lake's storage options; secrets come from the environment (AWS_SECRET_ACCESS_KEY)
AWS_REGION = "eu-central-1"

[serve]                     # the server
access_log = "access.jsonl" # who asked for what: a file, "-" (standard output) or "none"

[serve.oidc]                # callers who sign in at an OpenID Connect issuer: docs/auth.md has all settings
issuer = "https://login.example.com/"
audience = "features"

The variable of a setting of [headrace] is `HEADRACE_NAME`; of another table it is `HEADRACE_TABLE_NAME`, such as
HEADRACE_AUDIT_SAMPLE or HEADRACE_SERVE_OIDC_ISSUER.
"""

from headrace.config.project import Project, TableRoot
from headrace.config.serve_settings import OidcGrant, OidcSettings, Permission, ServeSettings
from headrace.config.tables import Clock, KafkaSettings, SaslMechanism, SecurityProtocol

__all__ = [
    "Clock",
    "KafkaSettings",
    "OidcGrant",
    "OidcSettings",
    "Permission",
    "Project",
    "SaslMechanism",
    "SecurityProtocol",
    "ServeSettings",
    "TableRoot",
]
