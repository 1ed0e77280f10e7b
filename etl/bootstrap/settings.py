"""Every setting, in one frozen object that is read once.

Flags of a command override the environment, the environment overrides `cpcds.toml`, and that
overrides the defaults here. An environment variable is named after the setting: `CPCDS_PAYER__ID`,
`CPCDS_LIMITS__REJECTED_CLAIMS`. `cpcds settings` lists them all. An error says where its setting
was given, and what its type takes.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeGuard, Union, get_args, get_origin

from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel, ByteSize, Field, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from etl.bootstrap import setting_groups as groups
from etl.errors import MappingError, Mistakes, nearest
from etl.publish.object_keys import CLOSED
from etl.storage.open_store import open_store
from etl.storage.port import Store, StoreOptions

PREFIX: Final = "CPCDS_"
_SYNTAX: Final = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column \d+\)", re.DOTALL)
Location = tuple[int | str, ...]
"""Name of a setting, part by part, as pydantic states it."""
_OPTIONS: Final[Mapping[str, str]] = {"target": "--to or TARGET"}
"""Setting -> its option, if that is not the last part of its name."""


def variable_of(location: Sequence[int | str]) -> str:
    """Return the name of the environment variable of a setting."""
    return PREFIX + "__".join(str(part) for part in location).upper()


def option_of(location: Location) -> str:
    """Return the command's option, or argument, that gives a setting."""
    name = ".".join(str(part) for part in location[:2])
    return _OPTIONS.get(name) or f"--{name.rpartition('.')[2].replace('_', '-')}"


def locations_in(flags: Mapping[str, Any]) -> Iterator[Location]:
    """Yield the name of each setting that flags give."""
    for name, value in flags.items():
        below = locations_in(value) if isinstance(value, Mapping) else [()]
        yield from ((name, *rest) for rest in below)


def origin_of(location: Location, file: Path, flag_names: Collection[Location]) -> str:
    """Return a setting's source: an option, a variable, or a file with its line.

    Args:
        location: its name, part by part.
        file: the configuration file, which may be missing.
        flag_names: names of the settings that a command's flags set.
    """
    for end in range(len(location), 0, -1):
        if location[:end] in flag_names:
            return option_of(location[:end])
    for end in range(len(location), 0, -1):
        if variable_of(location[:end]) in os.environ:
            return variable_of(location[:end])
    from etl.documents.toml_text import lines_by_path  # brings in yaml; errors alone need it

    try:
        lines = lines_by_path(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return str(file)
    prefixes = (location[:end] for end in range(len(location), 0, -1))
    return next((f"{file}:{lines[prefix]}" for prefix in prefixes if prefix in lines), str(file))


def syntax_error(error: ValueError, file: Path) -> tuple[str, str]:
    """Return the position of a TOML error, and its message."""
    match = _SYNTAX.fullmatch(str(error))
    return (str(file), str(error)) if not match else (f"{file}:{match['line']}", match["what"])


_SEE: Final = "see `cpcds settings`"
_ONE: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    SecretStr: "text",
    Path: "a path",
    ByteSize: "a size, such as '1.5 GB' or '800 MB'",
}
_QUOTED: Final = (str, SecretStr, Path)
_MANY: Final = {int: "whole numbers", str: "texts", Path: "paths"}


def mistake_in(error: ErrorDetails, settings: type[BaseModel], origin: str) -> tuple[str, str]:
    """Return the error in the value of a setting, and the remedy.

    Neither text contains the value, which may be a secret.

    Args:
        settings: the class of all settings.
        origin: its source, from `origin_of`.
    """
    name = ".".join(str(part) for part in error["loc"])
    kind, field = _declared(settings, error["loc"])
    message = f"setting {name} must be {_words(kind)}{_bounds(field)}"
    return message, _hint(error, kind, origin) or _default(field) or _SEE


def _hint(error: ErrorDetails, kind: Any, origin: str) -> str:
    """Return how to write a value of an invalid form; "" for other errors."""
    value, shape = error["input"], get_origin(kind)
    if shape is Literal and isinstance(value, str):
        return nearest(value, [str(word) for word in get_args(kind)])
    if origin.startswith(PREFIX) and isinstance(value, str) and (shape or is_part(kind)):
        example = '["…", "…"]' if shape is tuple else '{"…": …}'
        return f"in a variable it is JSON: {variable_of(error['loc'])}='{example}'"
    if shape is tuple and not isinstance(value, list):
        return "put it in square brackets"
    if kind in _QUOTED and not isinstance(value, str | list | dict):
        return "put it in quotes"
    return ""


def _declared(settings: type[BaseModel], location: Location) -> tuple[Any, FieldInfo | None]:
    """Return the type declared for a setting, and its field (None inside a field)."""
    kind: Any = settings
    field: FieldInfo | None = None
    for part in location:
        if is_part(kind):
            field = kind.model_fields[str(part)]
            kind = _not_none(field.annotation)
        else:  # an entry of a list or table
            field, kind = None, get_args(kind)[0 if isinstance(part, int) else 1]
    return kind, field


def _not_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (choice for choice in get_args(kind) if choice is not NoneType)
    return kind


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(word or 'empty text' for word in get_args(kind))}"
    if get_origin(kind) is tuple:
        return f"a list of {_MANY.get(get_args(kind)[0], 'tables')}"
    if get_origin(kind) is dict:
        return f"a table, each value {_words(get_args(kind)[1])}"
    if is_part(kind):
        return f"a table of settings: {', '.join(list(kind.model_fields)[:4])} and the like"
    return _ONE[kind]


def _bounds(field: FieldInfo | None) -> str:
    least = most = ""
    for bound in field.metadata if field is not None else ():
        match bound:
            case Ge(ge=number):
                least = f"{number}"
            case Le(le=number):
                most = f"{number}"
            case MinLen(min_length=number):
                return f", at least {number}"
            case _:
                continue
    if least and most:
        return f" from {least} to {most}"
    return f", {least} or more" if least else ""


def _default(field: FieldInfo | None) -> str:
    default = field.default if field is not None else None
    if isinstance(default, bool):
        default = str(default).lower()
    shown = isinstance(default, str | int | float | Path) and str(default)
    return f"leave it out for the default, {default}" if shown else ""


FILE: Final = "cpcds.toml"
SANDBOX_DATABASE: Final = "cpcds-auth.sqlite3"
"""Name of the database of a sandbox that no setting names."""
DEMO_ID_KEY: Final = "the public key of the demonstration"
"""Key of the hash behind logical ids until a payer sets its own. It is public: ids made with it can
be guessed from member ids."""


SHORTEST_ID_KEY: Final = 32
"""Fewest characters of a key: a shorter one can be found by trying, from the id of one member whose
number is known."""

LONGEST_ID_KEY: Final = 64
"""Most bytes of a key of BLAKE2b (RFC 7693 section 2.1)."""


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="CPCDS_", env_nested_delimiter="__"
    )

    target: str = Field(
        "output", description="Where releases are published: a folder, or `s3://bucket/prefix`."
    )
    mappings: tuple[Path, ...] = Field(
        (),
        description="Folders of your own files, to add to those in `mappings/` or change them.",
    )
    layout: str | None = Field(None, description="Layout of extracts. By default it is detected.")
    id_key: SecretStr = Field(
        SecretStr(DEMO_ID_KEY),
        description="Secret key of logical IDs. Set it as an environment variable, CPCDS_ID_KEY.",
    )
    payer: groups.PayerSettings = groups.PayerSettings()
    rules: groups.RulesSettings = groups.RulesSettings()
    claims: groups.ClaimsSettings = groups.ClaimsSettings()
    limits: groups.LimitsSettings = groups.LimitsSettings()
    run: groups.RunSettings = groups.RunSettings()
    report: groups.ReportSettings = groups.ReportSettings()
    retention: groups.RetentionSettings = groups.RetentionSettings()
    monitoring: groups.MonitoringSettings = groups.MonitoringSettings()
    extract: groups.ExtractSettings = groups.ExtractSettings()
    store: groups.StorageSettings = groups.StorageSettings()
    publish: groups.PublishSettings = groups.PublishSettings()
    auth: groups.AuthSettings = groups.AuthSettings()
    serve: groups.ServeSettings = groups.ServeSettings()
    portal: groups.PortalSettings = groups.PortalSettings()

    _file: Path = PrivateAttr(default=Path(FILE))
    _flags: frozenset[Location] = PrivateAttr(default=frozenset())

    @classmethod
    def copy_of(cls, validated: Settings, file: Path, flags: frozenset[Location]) -> Settings:
        """Return settings as an object of this class, which can be pickled.

        Args:
            file: the configuration file.
            flags: names of the settings that a command's flags gave.
        """
        copy = cls.model_construct(**{name: getattr(validated, name) for name in cls.model_fields})
        copy._file, copy._flags = file, flags  # noqa: SLF001 - its own class
        return copy

    def origin(self, *name: str) -> str:
        """Return a setting's source (option, variable, file and line), or else its name."""
        origin = origin_of(name, self._file, self._flags)
        return ".".join(name) if origin == str(self._file) else origin

    def id_key_bytes(self) -> bytes:
        """Return the key of the hash behind logical ids.

        Raises:
            MappingError: `config-value`: it is too short or too long.
        """
        text = self.id_key.get_secret_value()
        key = text.encode()
        if len(text) < SHORTEST_ID_KEY or len(key) > LONGEST_ID_KEY:
            raise MappingError(
                "CPCDS_ID_KEY",
                "config-value",
                f"setting id_key: a key has {SHORTEST_ID_KEY} characters at least, and "
                f"{LONGEST_ID_KEY} bytes at most",
                hint="`openssl rand -hex 32` makes one",
            )
        return key

    @property
    def is_demo_key(self) -> bool:
        """Whether logical ids are made with the public key."""
        return self.id_key.get_secret_value() == DEMO_ID_KEY

    def of_a_run(self) -> Settings:
        """Return these settings with the default limits of a run."""
        return self.model_copy(update={"limits": self.limits.of_a_run()})

    def with_run(self, **changed: int) -> Settings:
        """Return these settings with others of the group `run`."""
        return self.model_copy(update={"run": self.run.model_copy(update=changed)})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the sources in order: flags, environment, file."""
        del env_settings, dotenv_settings, file_secret_settings
        file = TomlConfigSettingsSource(settings_cls)
        return (init_settings, _Variables(settings_cls), file)


class _Variables(EnvSettingsSource):
    """The environment; invalid JSON stays text, which validation rejects."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return a list or table."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def read_settings(file: Path | None, **flags: Any) -> Settings:
    """Return the settings.

    Args:
        file: a configuration file; None for `cpcds.toml` in the current folder, if there is one.
        flags: settings from a command's flags; None if the flag was not given.

    Raises:
        MappingError: `config-file`, `config-unknown-setting`, `config-value`; all errors
            together.
    """
    path = file if file is not None else Path(FILE)
    if file is not None and not file.is_file():
        raise MappingError(str(file), "config-file", "there is no such configuration file")

    class _FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    options = {name: value for name, value in flags.items() if value is not None}
    flag_names = frozenset(locations_in(options))
    mistakes = Mistakes()
    for variable in _unknown_variables():
        mistakes.add(_unknown(variable, variable, map(variable_of, _names())))
    try:
        settings = _with_database(Settings.copy_of(_FromFile(**options), path, flag_names))
        with mistakes.collected():
            settings.id_key_bytes()
    except ValidationError as error:
        for details in error.errors():
            where = origin_of(details["loc"], path, flag_names)
            if details["type"] == "extra_forbidden":
                name = ".".join(str(part) for part in details["loc"])
                mistakes.add(_unknown(where, name, setting_names()))
            else:
                message, hint = mistake_in(details, Settings, where)
                mistakes.add(MappingError(where, "config-value", message, hint=hint))
    except UnicodeDecodeError as error:
        message = f"not UTF-8 at byte {error.start}"
        mistakes.add(MappingError(str(path), "config-file", message, hint="write it as UTF-8"))
    except tomllib.TOMLDecodeError as error:
        where, message = syntax_error(error, path)
        mistakes.add(MappingError(where, "config-file", f"not TOML: {message}"))
    mistakes.report()
    return settings


def _with_database(settings: Settings) -> Settings:
    """Place the sandbox's database, and so its secret, beside the target.

    An existing database in the working folder is used instead.
    """
    auth, target = settings.auth, settings.target
    file = Path(SANDBOX_DATABASE)
    is_default = auth.mode == "sandbox" and "database" not in auth.model_fields_set
    if not is_default or not target or "://" in target or file.exists():
        return settings
    database = f"sqlite:///{Path(target).absolute().parent / file}"
    return settings.model_copy(update={"auth": auth.model_copy(update={"database": database})})


def _unknown(where: str, name: str, names: Iterable[str]) -> MappingError:
    hint = nearest(name, names) or "`cpcds settings` lists them"
    return MappingError(where, "config-unknown-setting", f"there is no setting {name!r}", hint=hint)


def _names() -> Iterator[Sequence[str]]:
    return (name.split(".") for name in setting_names())


def _unknown_variables() -> list[str]:
    """Return the variables whose names match no setting."""
    unknown = []
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX):
            first, *below = variable.removeprefix(PREFIX).lower().split("__")
            field = Settings.model_fields.get(first)
            if field is None or (below and not is_part(field.annotation)):
                unknown.append(variable)
    return unknown


def is_part(kind: Any) -> TypeGuard[type[BaseModel]]:
    """Return whether a type is a group of settings."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> dict[str, str]:
    """Return every setting's dotted name with its description."""
    names: dict[str, str] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if is_part(kind):
            names |= setting_names(kind, f"{prefix}{name}.")
        else:
            names[f"{prefix}{name}"] = " ".join((field.description or "").split())
    return names


def store_options(settings: Settings) -> StoreOptions:
    """Return the storage options of the target from the settings."""
    mode = settings.publish.folder_mode
    return StoreOptions(**settings.store.model_dump(), mode=mode, closed=CLOSED)


def target_store(settings: Settings) -> Store:
    """Return the store of the target.

    Raises:
        UsageError: the target is neither a folder nor `s3://bucket/prefix`.
    """
    return open_store(settings.target, store_options(settings))
