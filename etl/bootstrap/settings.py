"""Every setting, in one frozen object that is read once.

Flags of a command beat the environment, the environment beats `cpcds.toml`, and that beats what is
written here. An environment variable is named after the setting: `CPCDS_PAYER__ID`,
`CPCDS_LIMITS__REJECTED_CLAIMS`. docs/configuration.md lists them all; a test holds it to this file.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from etl.errors import MappingError

FILE: Final = "cpcds.toml"
DEMO_ID_KEY: Final = "the public key of the demonstration"
"""Key of the hash behind logical ids until a payer sets its own. It is public: ids made with it can
be guessed from member ids."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Payer(_Part):
    """Who publishes, and how its identifiers are named in FHIR."""

    id: str = Field("demo", description="The payer's id; part of every logical id.")
    name: str = Field("Demonstration Health Plan", description="The payer's name for people.")
    member_id_system: str = Field(
        "urn:cpcds:demo:member-id", description="`Patient.identifier.system` of member ids (MB)."
    )
    unique_member_id_system: str = Field(
        "urn:cpcds:demo:unique-member-id",
        description="`Patient.identifier.system` of person-wide ids (um).",
    )
    claim_id_system: str = Field(
        "urn:cpcds:demo:claim-id",
        description="`ExplanationOfBenefit.identifier.system` of claim numbers (uc).",
    )
    organization_id_system: str = Field(
        "urn:cpcds:demo:organization-id", description="System of the payer's organization ids."
    )
    practitioner_id_system: str = Field(
        "urn:cpcds:demo:practitioner-id", description="System of the payer's practitioner ids."
    )
    payer_id_system: str = Field(
        "", description="System of payer ids in `Organization.identifier`; none where empty."
    )
    default_network_status: Literal["", "innetwork", "outofnetwork"] = Field(
        "",
        description=(
            "Network status of a provider where a claim states none and its profile requires one."
        ),
    )


class Rules(_Part):
    """How findings are judged."""

    severities: dict[str, Literal["warn", "reject-row", "reject-claim"]] = Field(
        default_factory=dict, description="Rule id → severity, where it is not the rule's own."
    )


class Limits(_Part):
    """When so much is wrong that nothing is published (exit 4). Shares are between 0 and 1."""

    rejected_claims: float = Field(
        1.0, ge=0, le=1, description="Most share of claims that may be rejected."
    )
    rejected_members: float = Field(
        1.0, ge=0, le=1, description="Most share of members that may be rejected."
    )
    findings: dict[str, int] = Field(
        default_factory=dict, description="Rule id → most findings of it."
    )
    retracted_members: float = Field(
        1.0, ge=0, le=1, description="Most share of published members that a run may retract."
    )


class Run(_Part):
    """How a run is done. Nothing here changes what comes out."""

    partition_rows: int = Field(
        200_000, ge=1, description="About how many rows of input are worked on at a time."
    )
    workers: int = Field(0, ge=0, description="Processes; 0 for one a processor.")
    work: Path | None = Field(
        None,
        description=(
            "Folder for what is in progress; in the target's, or for object storage in the "
            "current one, where not set."
        ),
    )


class Report(_Part):
    """What the validation report holds."""

    gx_rows: int = Field(
        200_000,
        ge=0,
        description="Most rows a table that Great Expectations looks at; 0 to leave it out.",
    )


class Storage(_Part):
    """Object storage. A folder needs none of it; credentials come by AWS's usual chain."""

    endpoint_url: str | None = Field(
        None, description="URL of an S3-compatible server other than AWS."
    )
    region: str | None = Field(None, description="Region of the bucket; AWS's own way if not set.")
    profile: str | None = Field(None, description="Profile in the AWS configuration files.")
    sse: Literal["AES256", "aws:kms"] | None = Field(
        None, description="Server-side encryption of what is written."
    )
    sse_key: str | None = Field(
        None, description="KMS key for `aws:kms`; the bucket's own where not set."
    )
    storage_class: str | None = Field(
        None, description="Storage class of what is written; the bucket's default where not set."
    )
    concurrency: int = Field(16, ge=1, le=256, description="Requests at once, a process.")
    attempts: int = Field(5, ge=1, description="Tries of one request before it counts as failed.")
    connect_seconds: float = Field(5.0, gt=0, description="How long to wait for a connection.")
    read_seconds: float = Field(60.0, gt=0, description="How long to wait for an answer.")
    part_bytes: int = Field(
        64 * 1024 * 1024,
        ge=5 * 1024 * 1024,
        description="Larger objects are sent in parts of this size.",
    )


class Publishing(_Part):
    """What is published, and what is kept and written beside the blocks."""

    view: Literal["financial", "basis"] = Field(
        "financial",
        description="Which view of claims is made: all of them, or `basis`, without any amount.",
    )
    deltas: bool = Field(
        False,
        description="Whether a full extract's rows are kept, so that deltas can follow it.",
    )
    bulk: bool = Field(True, description="Whether bulk files by resource type are written.")
    base_url: str = Field(
        "", description="URL that the tree is served under; links are relative where empty."
    )
    cadence: str = Field("P1D", description="ISO 8601 duration between releases.")
    requires_access_token: bool = Field(
        True, description="Whether clients need an access token for the files."
    )
    snapshot_every: int = Field(
        30, ge=1, description="Releases after which there is a new snapshot, at the latest."
    )


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
        description="Folders with files of your own that add to or overlay those in `mappings/`.",
    )
    layout: str | None = Field(None, description="Layout of extracts; None to find it out.")
    id_key: SecretStr = Field(
        SecretStr(DEMO_ID_KEY),
        description="Key of the hash behind logical ids. Set it by environment (CPCDS_ID_KEY).",
    )
    payer: Payer = Field(default_factory=Payer, description="The payer.")
    rules: Rules = Field(default_factory=Rules, description="Severities.")
    limits: Limits = Field(default_factory=Limits, description="Limits.")
    run: Run = Field(default_factory=Run, description="How a run is done.")
    report: Report = Field(default_factory=Report, description="The validation report.")
    store: Storage = Field(default_factory=Storage, description="Object storage.")
    publish: Publishing = Field(
        default_factory=Publishing, description="The view of claims, deltas and bulk files."
    )

    @property
    def is_demo_key(self) -> bool:
        """Whether logical ids are made with the public key."""
        return self.id_key.get_secret_value() == DEMO_ID_KEY

    def with_workers(self, workers: int | None) -> Settings:
        """Return these settings with a number of processes, where one is given."""
        if workers is None:
            return self
        return self.model_copy(update={"run": self.run.model_copy(update={"workers": workers})})

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
        del dotenv_settings, file_secret_settings
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def read_settings(file: Path | None, **flags: Any) -> Settings:
    """Return the settings.

    Args:
        file: a configuration file; None for `cpcds.toml` in the current folder, if there is one.
        flags: settings that a command's flags give; None where the flag was not given.

    Raises:
        MappingError: `config-file`, `config-unknown-setting`, `config-value`.
    """
    path = file if file is not None else Path(FILE)
    if file is not None and not file.is_file():
        raise MappingError(str(file), "config-file", "there is no such configuration file")

    class _FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        found = _FromFile(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        where = _where(path, first["loc"])
        if first["type"] == "extra_forbidden":
            close = get_close_matches(name, list(setting_names()), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "see docs/configuration.md"
            raise MappingError(
                where, "config-unknown-setting", f"there is no setting {name!r}", hint=hint
            ) from None
        raise MappingError(where, "config-value", f"setting {name}: {first['msg']}") from None
    except ValueError as error:  # tomllib's own
        raise MappingError(str(path), "config-file", f"not TOML: {error}") from None
    # Of a class that other processes can find; it was validated above.
    return Settings.model_construct(
        **{name: getattr(found, name) for name in Settings.model_fields}
    )


def _where(path: Path, loc: tuple[int | str, ...]) -> str:
    variable = "CPCDS_" + "__".join(str(part) for part in loc).upper()
    return variable if variable in os.environ else str(path)


def setting_names(model: type[BaseModel] = Settings, before: str = "") -> dict[str, str]:
    """Return every setting's dotted name with its description."""
    names: dict[str, str] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, _Part):
            names |= setting_names(kind, f"{before}{name}.")
        else:
            names[f"{before}{name}"] = field.description or ""
    return names
