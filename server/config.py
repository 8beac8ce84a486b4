"""Settings: config.toml and the environment, decoded into typed structs.

The structs below are the single place where a setting has its name, its type, its default and its bounds.
`load` reads a file and the environment and reports every problem at once, each with its key and the nearest
valid name. Limits are settings, and 0 switches a limit off.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import tomllib
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from server.errors import ConfigError

ENVIRONMENT_PREFIX = "SWITCHBOARD__"
DEFAULT_FILE = Path("config.toml")
BUNDLED_SERVICES = ("chat", "echo", "dice")
DATABASE_SCHEMES = ("sqlite://", "mysql://", "mariadb://")
RESERVED_PATHS = ("/auth", "/health", "/metrics")
_SUBJECT_PREFIX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_SERVICE_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the configuration file."""


class ServerSettings(_Table, frozen=True):
    """`[server]`: where to listen, whom to believe, and the limits of the network side."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8765
    origins: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    tls_certificate: str = ""
    tls_key: str = ""
    data: str = "data"
    connections: Count = 0
    connections_per_address: Count = 1000
    handshake_seconds: Seconds = 10
    request_bytes: Count = 16384
    body_bytes: Count = 65536
    frame_bytes: Count = 65536
    message_bytes: Count = 1048576
    message_fragments: Count = 1024
    outgoing_bytes: Count = 1048576
    cache_bytes: Count = 8388608
    compress_bytes: Count = 0
    heartbeat_seconds: Seconds = 20
    close_seconds: PositiveSeconds = 5
    stop_seconds: PositiveSeconds = 8
    drain_seconds: Seconds = 5
    memory: Count = 0
    reconnect_min_seconds: PositiveSeconds = 0.5
    reconnect_max_seconds: PositiveSeconds = 30


class DatabaseSettings(_Table, frozen=True):
    """`[database]`: an empty URL means a SQLite file inside `server.data`. Slower queries are logged; 0 logs none."""

    url: str = ""
    slow_seconds: Seconds = 1.0


class BrokerSettings(_Table, frozen=True):
    """`[broker]`: what carries publications between processes: nothing but this machine, or NATS servers.

    Args:
        url: `local`, or one or more `nats://HOST:PORT`, separated by commas.
        prefix: what subjects begin with, so that several Switchboards can share a NATS.
        credentials: file with the NATS user's credentials (a JWT and its seed).
        tls_ca: file with the authority that signed the certificates of NATS servers.
    """

    url: str = "local"
    prefix: str = "switchboard"
    credentials: str = ""
    tls_ca: str = ""


class AuthSettings(_Table, frozen=True):
    """`[auth]`: who may become a user, and how often somebody may try."""

    registration: Literal["open", "invite", "closed"] = "open"
    guests: bool = True
    attempts_per_minute: Count = 60
    session_days: Annotated[int, Meta(ge=1)] = 30


class LogSettings(_Table, frozen=True):
    """`[log]`: how much to say on standard error, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "journal", "json"] = "auto"


class ServiceSettings(_Table, frozen=True):
    """`[services.NAME]`: where a service is mounted; every other key is the service's own.

    Args:
        name: NAME; also the module or package in `services/`, or the entry point.
        path: URL path, by default `/NAME`.
        workers: processes of its own; 0 runs it inside the main process.
        options: the keys that the service's own `Settings` struct decodes.
    """

    name: str
    path: str
    workers: int = 0
    options: Mapping[str, Any] = {}


class Settings(_Table, frozen=True):
    """Everything that can be configured, decoded and checked.

    Args:
        base: the folder that relative paths start from: the configuration file's.
    """

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    broker: BrokerSettings = BrokerSettings()
    auth: AuthSettings = AuthSettings()
    log: LogSettings = LogSettings()
    services: Mapping[str, ServiceSettings] = {}
    base: Path = Path()

    @property
    def data(self) -> Path:
        """The folder of the database and of files."""
        return self.base / self.server.data

    @property
    def database_url(self) -> str:
        """The configured database, or the SQLite file inside the data folder."""
        return self.database.url or f"sqlite:///{self.data / 'switchboard.db'}"


TABLES: Mapping[str, type[msgspec.Struct]] = {
    "server": ServerSettings,
    "database": DatabaseSettings,
    "broker": BrokerSettings,
    "auth": AuthSettings,
    "log": LogSettings,
}


def load(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    check: Callable[[Settings], list[str]] | None = None,
) -> Settings:
    """Read the settings.

    Args:
        path: the configuration file; without one, `config.toml` of the working directory if it is there.
        environment: variables to read `SWITCHBOARD__TABLE__KEY` from; by default the process's own.
        check: names problems that others know of, such as those of the services' own keys. It is called even when
            there are problems; what could not be read has its default then.

    Raises:
        ConfigError: with every problem of the file and the environment.
    """
    problems: list[str] = []
    document = _read(path, problems)
    _merge_environment(document, os.environ if environment is None else environment, problems)
    base = (path or DEFAULT_FILE).resolve().parent
    return decode(document, base, problems, check)


def decode(
    document: dict[str, Any],
    base: Path,
    problems: Sequence[str] = (),
    check: Callable[[Settings], list[str]] | None = None,
) -> Settings:
    """Turn a parsed document into settings.

    Args:
        document: tables and keys, as `tomllib` gives them.
        base: the folder that relative paths start from.
        problems: problems found before, reported together with the ones found here.
        check: as in `load`.

    Raises:
        ConfigError: with every problem.
    """
    found = list(problems)
    valid = [*TABLES, "services"]
    found += [_unknown(name, valid) for name in document if name not in valid]
    tables = {name: _table(name, document.get(name, {}), struct, found) for name, struct in TABLES.items()}
    services = _services(document.get("services"), found)
    sound = {name: table for name, table in tables.items() if table is not None}
    settings = Settings(**sound, services=services, base=base)
    if check is not None:
        found += check(settings)
    found += _contradictions(settings)
    if found:
        raise ConfigError(found)
    return settings


def decode_options(table: str, options: Mapping[str, Any], struct: type[msgspec.Struct]) -> tuple[Any, list[str]]:
    """Decode a table into the struct that describes it.

    Args:
        table: the table's full name, as in `services.chat`; problems start with it.
        options: its keys and values.
        struct: a msgspec Struct with a default for each field that may be left out.

    Returns:
        The struct, or None where there are problems, and the problems.
    """
    hints = typing.get_type_hints(struct, include_extras=True)
    valid = [f"{table}.{name}" for name in struct.__struct_fields__]
    problems = [_unknown(f"{table}.{key}", valid) for key in options if key not in hints]
    for key, value in options.items():
        if key in hints:
            try:
                msgspec.convert(value, hints[key])
            except msgspec.ValidationError as error:
                problems.append(f"{table}.{key}: {_lower_first(str(error))}, but it is {value!r}")
    missing = [f.name for f in msgspec.structs.fields(struct) if f.required and f.name not in options]
    problems += [f"{table}.{name}: is required, and is missing" for name in missing]
    return (None if problems else msgspec.convert(dict(options), struct)), problems


def _read(path: Path | None, problems: list[str]) -> dict[str, Any]:
    """Parse the file; a missing default file is an empty one."""
    file = path or DEFAULT_FILE
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path is not None:
            problems.append(f"{file}: there is no such file")
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{file}: is not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{file}: is not valid TOML: {error}")
    return {}


def _merge_environment(document: dict[str, Any], environment: Mapping[str, str], problems: list[str]) -> None:
    """Lay `SWITCHBOARD__TABLE__KEY=value` over the document.

    A value is text where the setting is text; elsewhere it is read as TOML, so that numbers, booleans and
    lists work.
    """
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        keys = [part.lower() for part in variable.removeprefix(ENVIRONMENT_PREFIX).split("__")]
        depth = 3 if keys[0] == "services" else 2
        if len(keys) != depth or not all(keys):
            problems.append(f"{variable}: is not a setting; the form is {ENVIRONMENT_PREFIX}TABLE__KEY")
            continue
        if keys[0] == "services":
            document.setdefault("services", {name: {} for name in BUNDLED_SERVICES})
        table = document
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                break
        else:
            table[keys[-1]] = _environment_value(keys, environment[variable])


def _environment_value(keys: list[str], text: str) -> Any:
    """Read one variable: as text where the setting is text, else as TOML, else as a comma-separated list."""
    hint: Any = None
    if keys[0] in TABLES:
        hint = typing.get_type_hints(TABLES[keys[0]]).get(keys[1])
    if hint is str or keys[2:] == ["path"]:
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    if hint == tuple[str, ...] and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _table(name: str, value: Any, struct: type[msgspec.Struct], problems: list[str]) -> Any:
    if not isinstance(value, dict):
        problems.append(f"{name}: is a table, written [{name}]")
        return None
    decoded, found = decode_options(name, value, struct)
    problems += found
    return decoded


def _services(tables: Any, problems: list[str]) -> dict[str, ServiceSettings]:
    """Decode `[services.NAME]`; without any such table the bundled services are served."""
    if tables is None:
        tables = {name: {} for name in BUNDLED_SERVICES}
    if not isinstance(tables, dict):
        problems.append("services: holds tables, written [services.NAME]")
        return {}
    services = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            problems.append(f"services.{name}: is a table, written [services.{name}]")
        elif not name.isidentifier():
            problems.append(f"services.{name}: a service's name is the name of a Python module")
        else:
            services[name] = _service(name, table, problems)
    for first, second in itertools.combinations(services.values(), 2):
        if first.path == second.path:
            problems.append(f"services.{second.name}.path: {second.path} is the path of services.{first.name}")
    return services


def _service(name: str, table: Mapping[str, Any], problems: list[str]) -> ServiceSettings:
    """Part a service's table into what the engine reads and what the service reads."""
    path, workers = table.get("path", f"/{name}"), table.get("workers", 0)
    if not isinstance(path, str) or not _SERVICE_PATH.fullmatch(path):
        problems.append(f"services.{name}.path: is a path like /{name}, but it is {path!r}")
        path = f"/{name}"
    if any(path == reserved or path.startswith(f"{reserved}/") for reserved in RESERVED_PATHS):
        problems.append(f"services.{name}.path: {path} is taken by the server itself; choose another")
    if type(workers) is not int or workers < 0:
        problems.append(f"services.{name}.workers: is a number of processes, 0 or more, but it is {workers!r}")
        workers = 0
    options = {key: value for key, value in table.items() if key not in ("path", "workers")}
    return ServiceSettings(name=name, path=path, workers=workers, options=options)


def _contradictions(settings: Settings) -> list[str]:
    """Settings that are valid alone and not together."""
    server = settings.server
    problems: list[str] = []
    if bool(server.tls_certificate) != bool(server.tls_key):
        missing = "tls_key" if server.tls_certificate else "tls_certificate"
        problems.append(f"server.{missing}: a certificate and its key come together; set both or none")
    for key in ("tls_certificate", "tls_key"):
        file = getattr(server, key)
        if file and not (settings.base / file).is_file():
            problems.append(f"server.{key}: there is no file {file}")
    if settings.database.url and not settings.database.url.startswith(DATABASE_SCHEMES):
        # The URL itself may have a password.
        problems.append("database.url: is sqlite:///FILE or mysql://USER:PASSWORD@HOST/NAME, or leave it out")
    problems += _broker_problems(settings)
    if server.tls_certificate:
        problems += [
            f"services.{service.name}.workers: a client cannot move to another process together with its TLS; let a "
            "proxy in front speak TLS (deploy/nginx.conf), and leave server.tls_certificate out"
            for service in settings.services.values()
            if service.workers
        ]
    if server.reconnect_min_seconds > server.reconnect_max_seconds:
        problems.append("server.reconnect_min_seconds: is larger than server.reconnect_max_seconds")
    return problems


def _broker_problems(settings: Settings) -> list[str]:
    broker = settings.broker
    problems: list[str] = []
    if broker.url == "local":
        return problems
    if settings.database_url.startswith("sqlite://"):
        problems.append(
            "database.url: several machines need one database that all of them reach: mysql://USER:PASSWORD@HOST/NAME; "
            "with SQLite, leave broker.url out"
        )
    if not _SUBJECT_PREFIX.fullmatch(broker.prefix):
        problems.append("broker.prefix: is letters, digits, - and _, in parts separated by dots")
    return problems


def _unknown(key: str, valid: list[str]) -> str:
    nearest = difflib.get_close_matches(key, valid, n=1, cutoff=0.6)
    return f"{key}: is not a setting" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
