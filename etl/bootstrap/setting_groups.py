"""Groups of settings: one class for each table of `cpcds.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr


class SettingGroup(BaseModel):
    """Settings that belong together. Immutable; unknown settings are rejected.

    The string below each setting is its description in `cpcds settings`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PayerSettings(SettingGroup):
    """The payer that publishes, and its identifier systems in FHIR."""

    id: str = "demo"
    """ID of the payer. It is part of every logical ID."""
    name: str = "Demonstration Health Plan"
    """Name of the payer, as people read it."""
    member_id_system: str = "urn:cpcds:demo:member-id"
    """`Patient.identifier.system` of member IDs (MB)."""
    unique_member_id_system: str = "urn:cpcds:demo:unique-member-id"
    """`Patient.identifier.system` of IDs that identify a person across payers (um)."""
    claim_id_system: str = "urn:cpcds:demo:claim-id"
    """`ExplanationOfBenefit.identifier.system` of claim numbers (uc)."""
    prior_auth_id_system: str = "urn:cpcds:demo:prior-auth-id"
    """`ExplanationOfBenefit.identifier.system` of prior authorizations."""
    organization_id_system: str = "urn:cpcds:demo:organization-id"
    """Identifier system of the payer's organization IDs."""
    practitioner_id_system: str = "urn:cpcds:demo:practitioner-id"
    """Identifier system of the payer's practitioner IDs."""
    payer_id_system: str = ""
    """Identifier system of payer IDs in `Organization.identifier`. If empty, they have no
    system."""
    directory_id_system: str = Field("urn:cpcds:demo:directory-id", min_length=1)
    """Identifier system of the keys (RI) in a provider directory or drug formulary."""
    default_network_status: Literal["", "innetwork", "outofnetwork"] = ""
    """Network status to use if a claim has none and its profile requires one."""


class RulesSettings(SettingGroup):
    """Severities of rules."""

    severities: dict[str, Literal["warn", "reject-row", "reject-claim"]] = Field(
        default_factory=dict
    )
    """Rule ID → severity, to replace the rule's default."""


class ClaimsSettings(SettingGroup):
    """What happens to superseded claims and to sensitive codes."""

    superseded: Literal["publish", "leave-out"] = "publish"
    """Whether to publish a claim that another claim replaced, as cancelled, or to leave it out."""
    sensitive_codes: Path | None = None
    """CSV file of codes that must not be published: `system,code[,group]`."""


class LimitsSettings(SettingGroup):
    """Limits of a run. If one is exceeded, nothing is published (exit code 4)."""

    rejected_claims: float | None = Field(None, ge=0, le=1)
    """Highest share of claims that may be rejected. By default 0.5 for `run`, and no limit for
    `convert` and `validate`."""
    rejected_members: float = Field(1.0, ge=0, le=1)
    """Highest share of members that may be rejected."""
    rejected_rows: float | None = Field(None, ge=0, le=1)
    """Highest share of the rows of a table without members that may be rejected. By default
    0.5 for `run`, and no limit for `convert` and `validate`."""
    findings: dict[str, int] = Field(default_factory=dict)
    """Rule ID → highest number of its findings."""
    fewer_rows: float = Field(0.5, ge=0, le=1)
    """Highest share by which a table's rows may decrease since the previous release."""
    fewer_claims: float = Field(0.25, ge=0, le=1)
    """Highest share by which accepted claims may decrease since the previous release."""
    money_change: float = Field(0.5, ge=0)
    """Highest share by which the net sum of a claim type may change since the previous release."""
    retracted_members: float = Field(0.25, ge=0, le=1)
    """Highest share of published members that a run may retract."""
    retracted_claims: float = Field(0.25, ge=0, le=1)
    """Highest share of published claims that a run may retract."""
    retracted_resources: float = Field(0.5, ge=0, le=1)
    """Highest share of a type's published resources that a run may retract."""
    lost_columns: int = Field(0, ge=0)
    """Highest number of columns that are empty although at least a tenth of the previous release's
    rows filled them."""
    certificate: int = Field(0, ge=0)
    """Highest number of unexplained differences between published files and their rows."""
    unowned_rows: int | None = Field(None, ge=0)
    """Highest number of orphan rows: malformed rows whose owner is unknown. By default 0 for `run`,
    and no limit for `convert` and `validate`."""

    def of_a_run(self) -> LimitsSettings:
        """Return these limits, with the defaults that only a run has."""
        missing = {name: most for name, most in _OF_A_RUN.items() if getattr(self, name) is None}
        return self.model_copy(update=missing)


_OF_A_RUN: Final[Mapping[str, float]] = MappingProxyType(
    {"rejected_claims": 0.5, "rejected_rows": 0.5, "unowned_rows": 0}
)


class RunSettings(SettingGroup):
    """How a run uses the machine. None of it changes the output."""

    partition_rows: int = Field(200_000, ge=1)
    """About how many input rows a partition has."""
    workers: int = Field(0, ge=0)
    """Number of processes. 0 means one per processor."""
    memory: ByteSize | None = None
    """Memory that all processes of a run may use together. By default there is no limit."""
    executor: Literal["local", "spark"] = "local"
    """Where `cpcds run` and `cpcds verify` do their work: `local` (processes of this machine) or
    `spark` (executors of Apache Spark)."""
    master: str | None = None
    """Address of Apache Spark, as spark-submit takes it, or `sc://host` for Spark Connect. By
    default the platform's own session is used."""
    work: Path | None = None
    """Folder for unfinished work. By default it is inside the target, or in the current folder if
    the target is object storage."""


class ReportSettings(SettingGroup):
    """Contents of reports."""

    gx_rows: int = Field(2_000, ge=0)
    """About how many rows of the largest file Great Expectations samples. 0 turns it off."""
    small_cells: int = Field(10, ge=0)
    """Small cells: reports withhold sums over this many claims or fewer, and public pages withhold
    counts of this many members or requests or fewer. 0 withholds nothing."""


class RetentionSettings(SettingGroup):
    """How long reports and quarantines are kept."""

    report_days: float | None = Field(None, ge=1)
    """Age in days at which `cpcds prune` deletes a report, even if its release is kept."""
    quarantine_days: float | None = Field(None, ge=1)
    """Age in days at which `cpcds prune` deletes a quarantine, even if its release is kept."""


class MonitoringSettings(SettingGroup):
    """What is notified of runs. If a notification fails, the run logs it and continues."""

    textfile: Path | None = None
    """File for metrics of the last run, in the format of Prometheus' node exporter."""
    notify_command: tuple[str, ...] = ()
    """Command that receives the summary as JSON on standard input: program and arguments."""
    notify_services: tuple[SecretStr, ...] = ()
    """Apprise URLs of services that receive the summary."""
    notify_on: Literal["always", "failure"] = "always"
    """Whether to send the summary after every run, or only after failures."""


class StorageSettings(SettingGroup):
    """Object storage of the target. Credentials come from AWS's usual chain."""

    endpoint_url: str | None = None
    """URL of an S3-compatible server that isn't AWS."""
    region: str | None = None
    """Region of the bucket. By default it is found as AWS's tools find it."""
    profile: str | None = None
    """Profile in AWS's configuration files."""
    sse: Literal["AES256", "aws:kms"] | None = None
    """Server-side encryption of written objects."""
    sse_key: str | None = None
    """KMS key for `aws:kms`. By default the bucket's own key is used."""
    storage_class: str | None = None
    """Storage class of written objects. By default the bucket decides."""


class ExtractSettings(SettingGroup):
    """Object storage of extracts, if it isn't the target's."""

    endpoint_url: str | None = None
    """URL of an S3-compatible server. By default that of `store`."""
    region: str | None = None
    """Region of the bucket. By default that of `store`."""
    profile: str | None = None
    """Profile of an identity that may list and read. By default that of `store`."""


class PublishSettings(SettingGroup):
    """What a release contains, and how it is written."""

    view: Literal["financial", "basis"] = "financial"
    """View of claims to publish: `financial`, or `basis`, which has no amounts."""
    plan_net: Literal["1.2.0", "1.1.0"] = "1.2.0"
    """Version of Plan-Net in which a provider directory is published."""
    displays: bool = True
    """Whether codes are published with their names (`display`)."""
    deltas: bool = False
    """Whether a full extract's rows are stored in the target, so that deltas can follow it."""
    sidecar: bool = True
    """Whether row positions of a full extract are stored, so that `cpcds explain` can name source
    rows after the extract has been deleted. The rows themselves are not stored."""
    bulk: bool = True
    """Whether bulk files (one set per resource type) are written."""
    base_url: str = ""
    """URL under which the tree is served. If empty, links are relative."""
    cadence: str = "P1D"
    """Time between releases, as an ISO 8601 duration."""
    timestamp_url: SecretStr | None = None
    """URL of an authority that timestamps each published release (RFC 3161)."""
    signing_key: Path | None = None
    """PEM file of the Ed25519 private key that signs each release. By default nothing is signed."""
    mode: Literal["0700", "0750", "0755"] = "0700"
    """Mode of new folders, whatever the umask. Files get the same mode without the right to
    execute."""

    @property
    def folder_mode(self) -> int:
        """The mode as a number."""
        return int(self.mode, 8)


class ServeSettings(SettingGroup):
    """The server of the published tree."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on."""
    workers: int = Field(1, ge=1, le=256)
    """Number of processes."""
    base_url: str = ""
    """URL (scheme, host, and port) at which apps reach the server. Links are built from it."""
    cursor_key: SecretStr = SecretStr("")
    """Secret that encrypts page links. If empty, one is generated at start."""
    log_key: SecretStr = SecretStr("")
    """Secret of the hash that replaces patient IDs in logs. If empty, one is generated at start."""
    log: Literal["json", "off"] = "json"
    """Format of the request log, or `off`."""
    directory: str = ""
    """Target with a provider directory: a folder or `s3://bucket/prefix`. It is served at
    `/directory` to everyone. If empty, there is no directory."""
    formulary: str = ""
    """Target with a drug formulary: a folder or `s3://bucket/prefix`. It is served at `/formulary`
    to everyone. If empty, there is no formulary."""
    metrics: bool = True
    """Whether `/metrics` is served."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins of browser apps that may read members' data with a token (CORS)."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose `X-Forwarded-For` header is trusted."""
    rate_limit: str = "600/minute"
    """Rate limit of one app for one member, in each worker. If empty, there is no limit."""
    refused_limit: str = "60/minute"
    """Rate limit of requests without a valid token, per address, in each worker."""
    cache_bytes: int = Field(64 * 1024 * 1024, ge=0)
    """Size of each worker's cache, in bytes."""
    page_size: int = Field(10, ge=1)
    """Matches on a page if a request has no `_count`."""

    @property
    def reached_at(self) -> str:
        """Scheme, host, and port of every link, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.base_url.rstrip("/") or f"http://{host}:{self.port}"


class PortalSettings(SettingGroup):
    """The developer portal. The payer's texts, brand, and look are in `portal.toml`."""

    enabled: bool = True
    """Whether the portal is served. It needs an authorization server."""
    file: Path | None = None
    """Path of `portal.toml`: title, contact, links, brand, look, and texts."""
    reports: Path | None = None
    """Folder of the yearly numbers that `cpcds report … --post` made public. They are served at
    `/public-reporting`."""


class AuthSettings(SettingGroup):
    """The authorization server and its audit trail."""

    mode: Literal["off", "sandbox", "production"] = "off"
    """`sandbox`: apps work as soon as they are registered. `production`: they wait for `cpcds apps
    approve`. `off`: there is no authorization server."""
    database: str = "sqlite:///cpcds-auth.sqlite3"
    """Database of apps, accounts, and consents: SQLite or PostgreSQL."""
    secret: SecretStr = SecretStr("")
    """Secret that protects cookies and stored signing keys. If empty, one is generated and stored
    next to the SQLite file."""
    audit: Path = Path("cpcds-audit")
    """Folder of the audit trail."""
    oidc_issuer: str = ""
    """Issuer URL of the payer's OpenID Connect provider, where members sign in."""
    oidc_client_id: str = ""
    """Client ID of this server at that provider."""
    oidc_client_secret: SecretStr = SecretStr("")
    """Client secret of this server at that provider. Set it as an environment variable."""
    oidc_scope: str = "openid profile"
    """Scope to request from that provider."""
    oidc_member_claim: str = "member_id"
    """Claim of the ID token that contains the member ID."""
    demo_members: Path | None = None
    """A `member.csv` of made-up members that anyone may sign in as. Only for a sandbox."""
    consent_days: tuple[int, ...] = Field((90, 30, 365), min_length=1)
    """Days that a consent lasts: the choices that members have. The first one is preselected."""
    limits: dict[str, str] = Field(default_factory=dict)
    """Endpoint → rate limit per address or app, in each worker. If empty, there is no limit."""
    plain_apps: tuple[str, ...] = ()
    """IDs of apps that may sign members in without `scope`, `state`, `aud`, and PKCE."""
    introspectors: tuple[str, ...] = ()
    """IDs of apps that may introspect every app's tokens."""
    mail_server: SecretStr = SecretStr("")
    """Mail server for developers' sign-in links: `smtps://user:password@host` (TLS) or `smtp://…`
    (STARTTLS, except on a loopback address). Set it as an environment variable."""
    mail_from: str = ""
    """Sender address of mail."""
