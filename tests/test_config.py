"""A project's settings: where they are looked for, what an environment variable changes, and what is refused."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from headrace.config import Clock, Permission, Project, SecurityProtocol
from headrace.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)


def project_of(folder: Path, text: str = "") -> Project:
    (folder / "headrace.toml").write_text(text, encoding="utf-8")
    return Project.load(folder)


@pytest.mark.parametrize("text", ["", "[headrace]\n"])
def test_every_setting_has_a_default(tmp_path: Path, text: str) -> None:
    project = project_of(tmp_path, text)
    assert project.root == tmp_path
    assert project.repo == tmp_path / "feature_repo"
    assert project.state == tmp_path / ".headrace"
    assert Path(str(project.plan_file)) == tmp_path / ".headrace" / "plan.json"
    assert project.log_path == tmp_path / ".headrace" / "log"
    assert project.broker_state_path == tmp_path / ".headrace" / "broker.json"
    assert project.store_url == f"lmdb:{tmp_path / '.headrace' / 'online'}"
    assert project.broker is None
    assert project.clock is Clock.SYSTEM
    assert (project.partitions, project.group) == (3, "headrace")
    assert project.session_timeout == 6.0
    assert project.audit_path == tmp_path / ".headrace" / "audit"
    assert project.audit_sample == 0


def test_settings_are_read_from_the_file(tmp_path: Path) -> None:
    project = project_of(
        tmp_path,
        """
        [headrace]
        repo = "features"
        state = "/var/lib/shop"
        clock = "record"
        broker = "one:9092,two:9092"
        store = "redis://localhost:6379/1"
        partitions = 12
        group = "shop"
        session_timeout = 2.5
        """,
    )
    assert project.repo == tmp_path / "features"
    assert project.state == Path("/var/lib/shop")
    assert project.log_path == Path("/var/lib/shop/log")
    assert project.clock is Clock.RECORD
    assert project.broker == "one:9092,two:9092"
    assert project.store_url == "redis://localhost:6379/1"
    assert (project.partitions, project.group) == (12, "shop")
    assert project.session_timeout == 2.5


def test_environment_variables_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"CLOCK": "record", "PARTITIONS": "7", "BROKER": "other:1", "STATE": "elsewhere", "STORE": "lmdb:/x"}
    for name, value in variables.items():
        monkeypatch.setenv(f"HEADRACE_{name}", value)
    project = project_of(tmp_path, '[headrace]\nclock = "system"\npartitions = 2\nbroker = "embedded"\ngroup = "g"\n')
    assert (project.clock, project.partitions, project.broker) == (Clock.RECORD, 7, "other:1")
    assert (project.state, project.store_url) == (tmp_path / "elsewhere", "lmdb:/x")
    assert project.group == "g"


def test_share_of_recorded_lookups_has_a_table_and_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project_of(tmp_path, "[audit]\nsample = 0.25\n").audit_sample == 0.25
    monkeypatch.setenv("HEADRACE_AUDIT_SAMPLE", "0.5")
    assert project_of(tmp_path, "[audit]\nsample = 0.25\n").audit_sample == 0.5


def test_merging_of_small_files_has_a_table_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (project_of(tmp_path).log_small_files, project_of(tmp_path).log_target_bytes) == (32, 64_000_000)
    project = project_of(tmp_path, "[log]\nsmall_files = 8\ntarget_mb = 0.5\n")
    assert (project.log_small_files, project.log_target_bytes) == (8, 500_000)
    monkeypatch.setenv("HEADRACE_LOG_SMALL_FILES", "0")
    assert project_of(tmp_path, "[log]\nsmall_files = 8\n").log_small_files == 0


def test_embedded_broker_can_be_asked_for_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BROKER", "embedded")
    assert project_of(tmp_path, '[headrace]\nbroker = "one:9092"\n').broker is None


def test_parents_are_searched_from_a_folder_a_file_or_the_toml_itself(tmp_path: Path) -> None:
    project_of(tmp_path)
    inside = tmp_path / "feature_repo" / "deep"
    inside.mkdir(parents=True)
    (inside / "events.py").write_text("")
    for start in (inside, str(inside), inside / "events.py", inside / "not" / "there", tmp_path / "headrace.toml"):
        assert Project.load(start).root == tmp_path


def test_nearest_project_wins(tmp_path: Path) -> None:
    project_of(tmp_path)
    inner = tmp_path / "inner"
    inner.mkdir()
    project_of(inner, '[headrace]\ngroup = "inner"\n')
    assert Project.load(inner).group == "inner"
    assert Project.load(tmp_path).group == "headrace"


def test_start_is_the_current_folder_unless_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        project_of(folder)
    monkeypatch.chdir(here)
    assert Project.load().root == here
    monkeypatch.setenv("HEADRACE_PROJECT", str(there))
    assert Project.load().root == there
    assert Project.load(here).root == here


def test_no_project_anywhere_says_how_to_start_one(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").mkdir()  # a folder of that name is none
    with pytest.raises(ConfigError, match=r"no headrace\.toml in(?s:.*)headrace init"):
        Project.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[headrace", "cannot be read"),
        ("clock = ", "cannot be read"),
        ('headrace = "record"', "`headrace` is 'record', and it should be a table"),
        ("headrace = 3", "`headrace` is 3"),
        ("[[headrace]]\n", "should be a table"),
        ('[headrace]\nclock = "sun"', "`clock` is wrong: Input should be 'system' or 'record'"),
        ('[headrace]\nclocks = "system"', "no setting 'clocks' in [headrace]"),
        ("[headrace]\npartitions = 0", "`partitions` is wrong: Input should be greater than or equal to 1"),
        ("[headrace]\npartitions = 10001", "`partitions` is wrong"),
        ("[headrace]\npartitions = 1.5", "`partitions` is wrong"),
        ("[headrace]\nrepo = 5", "`repo` is wrong"),
        ('[headrace]\nbroker = ""', "`broker` is wrong"),
        ('[headrace]\ngroup = ""', "`group` is wrong"),
        ('[headrace]\nstore = ""', "`store` is wrong"),
        ("audit = 1", "`audit` is 1, and it should be a table"),
        ("[audit]\nsample = 1.5", "[audit]: `sample` is wrong: Input should be less than or equal to 1"),
        ("[audit]\nrate = 0.5", "no setting 'rate'"),
        ("[headrace]\naudit_sample = 0.5", "no setting 'audit_sample'"),
        ("[log]\nsmall_files = -1", "[log]: `small_files` is wrong"),
        ("[log]\nfiles = 1", "no setting 'files'"),
        ("[headrace]\nlog_target_mb = 5", "no setting 'log_target_mb'"),
        (
            '[kafka]\nsecurity_protocol = "TLS"',
            "[kafka]: `security_protocol` is wrong: Input should be 'PLAINTEXT', 'SSL'",
        ),
        ('[kafka]\nsasl_mechanism = "GSSAPI"', "[kafka]: `sasl_mechanism` is wrong: Input should be 'PLAIN'"),
        (
            '[log]\nuri = "gopher://x"',
            "[log]: `uri` is wrong: gopher:// is not known. It is a path, or begins with file://",
        ),
        ('[log]\nuri = "s3://"', "[log]: `uri` is wrong: It names no bucket. Write s3://bucket/prefix"),
        ('[log]\nuri = "file://host/log"', "[log]: `uri` is wrong: A file's URI begins with file:///"),
        ('[log]\nuri = "file:/log"', "[log]: `uri` is wrong: A file's URI begins with file:///"),
        ('[kafka]\npassword = "it is secret"', "[kafka]: `password` is a secret"),
        ('[kafka]\nkey_password = "it is secret"', "[kafka]: `key_password` is a secret"),
    ],
)
def test_wrong_file_is_named_with_the_setting_and_a_hint(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        project_of(tmp_path, text)
    assert message in caught.value.what
    assert str(tmp_path / "headrace.toml") in caught.value.what
    assert caught.value.hint


def test_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_bytes(b"[headrace]\ngroup = '\xff'")
    with pytest.raises(ConfigError, match=r"headrace\.toml cannot be read"):
        Project.load(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value"), [("HEADRACE_CLOCK", "sun"), ("HEADRACE_PARTITIONS", "many"), ("HEADRACE_GROUP", "")]
)
def test_wrong_environment_variable_is_named_not_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        project_of(tmp_path, '[headrace]\nclock = "record"\n')
    assert caught.value.what.startswith(f"${variable}: `{variable.removeprefix('HEADRACE_').lower()}` is wrong")
    assert "headrace.toml" not in caught.value.what


def test_table_of_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrase]\nclock = 'record'\n")
    with pytest.raises(ConfigError, match=r"headrase(?s:.*)\[headrace\]"):
        Project.load(tmp_path)


def test_kafka_settings_have_a_table_and_variables_and_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA_PASSWORD", "it is secret")
    monkeypatch.setenv("HEADRACE_KAFKA_CHECK_HOSTNAME", "false")
    settings = project_of(
        tmp_path, '[kafka]\nsecurity_protocol = "SASL_SSL"\nca_file = "ca.pem"\nkey_file = "/keys/client.key"\n'
    ).kafka
    assert settings.security_protocol is SecurityProtocol.SASL_SSL
    assert (settings.ca_file, settings.key_file) == (tmp_path / "ca.pem", Path("/keys/client.key"))
    assert settings.password is not None
    assert settings.password.get_secret_value() == "it is secret"
    assert not settings.check_hostname


def test_secrets_are_never_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_KAFKA_PASSWORD", "it is secret")
    monkeypatch.setenv("HEADRACE_KAFKA_KEY_PASSWORD", "it is secret")
    settings = project_of(tmp_path).kafka
    assert "it is secret" not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    with pytest.raises(ConfigError) as caught:
        project_of(tmp_path, '[kafka]\nsasl_mechanism = "it is wrong"')
    assert "it is secret" not in "".join(traceback.format_exception(caught.value))


OIDC = """
[serve.oidc]
issuer = "https://login.example.com/"
audience = "features"
[[serve.oidc.grants]]
claim = "groups"
value = "ml"
may = ["read-online", "read-history"]
services = ["desk"]
"""


def test_the_server_asks_nobody_to_sign_in_by_default(tmp_path: Path) -> None:
    assert project_of(tmp_path).serve.oidc is None
    assert project_of(tmp_path).serve.access_log is None


def test_an_issuer_has_a_table_and_its_grants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SERVE_OIDC_AUDIENCE", "other")
    oidc = project_of(tmp_path, OIDC).serve.oidc
    assert oidc is not None
    assert (oidc.issuer, oidc.audience, oidc.leeway, oidc.jwks_url) == ("https://login.example.com/", "other", 30, None)
    assert oidc.algorithms == ("RS256", "ES256")
    assert oidc.grants[0].may == (Permission.READ_ONLINE, Permission.READ_HISTORY)
    assert (oidc.grants[0].services, oidc.grants[0].views) == (("desk",), ())


@pytest.mark.parametrize(
    ("written", "path"),
    [("log/access.jsonl", "{}/log/access.jsonl"), ("-", "-"), ("none", "none"), ("/var/a", "/var/a")],
)
def test_the_access_log_is_relative_to_the_project(tmp_path: Path, written: str, path: str) -> None:
    found = project_of(tmp_path, f'[serve]\naccess_log = "{written}"\n').serve.access_log
    assert found == Path(path.format(tmp_path))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (('issuer = "https://login.example.com/"\n', ""), "[serve.oidc]: `issuer` is wrong: Field required"),
        (("https://login", "http://login"), "`issuer` is wrong: it must begin with https://"),
        (("https://login.example.com/", "login"), "`issuer` is wrong: it must begin with https://"),
        (('"ml"', '"ml"\nwhat = 1'), "headrace knows no setting 'what' in [serve.oidc.grants]"),
        (('"read-online"', '"read"'), "[serve.oidc.grants]: `may` is wrong: Input should be 'read-online'"),
        (('audience = "features"', 'audience = "features"\nalgorithms = ["HS256"]'), "`algorithms` is wrong"),
        (('audience = "features"', 'audience = "features"\nalgorithms = ["none"]'), "`algorithms` is wrong"),
        (('audience = "features"', 'audience = "features"\nleeway = 301'), "`leeway` is wrong"),
        (("[[serve.oidc.grants]]", "[serve.oidc.grants]"), "`grants` is wrong"),
        (("[serve.oidc]", "[serve]\nlogin = 1\n[serve.oidc]"), "headrace knows no setting 'login' in [serve]"),
    ],
)
def test_a_wrong_issuer_is_named_by_its_table_and_setting(tmp_path: Path, change: tuple[str, str], what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        project_of(tmp_path, OIDC.replace(*change))
    assert what in refused.value.what


def test_an_issuer_on_this_machine_may_be_asked_without_tls(tmp_path: Path) -> None:
    oidc = project_of(tmp_path, OIDC.replace("https://login.example.com/", "http://127.0.0.1:8080/realms/x")).serve.oidc
    assert oidc is not None


def test_an_issuer_without_grants_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`grants` is wrong: Field required"):
        project_of(tmp_path, OIDC.partition("[[")[0])
