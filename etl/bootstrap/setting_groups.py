"""Groups of settings, as they stand in `cpcds.toml`: one class a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr


class SettingGroup(BaseModel):
    """Settings that belong together, immutable; others than those named are refused.

    The text below each is its description (`cpcds settings`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PayerSettings(SettingGroup):
    """The publishing payer, and its identifiers in FHIR."""

    id: str = "demo"
    """The payer's id; part of every logical id."""
    name: str = "Demonstration Health Plan"
    """The payer's name for people."""
    member_id_system: str = "urn:cpcds:demo:member-id"
    """`Patient.identifier.system` of member ids (MB)."""
    unique_member_id_system: str = "urn:cpcds:demo:unique-member-id"
    """`Patient.identifier.system` of person-wide ids (um)."""
    claim_id_system: str = "urn:cpcds:demo:claim-id"
    """`ExplanationOfBenefit.identifier.system` of claim numbers (uc)."""
    prior_auth_id_system: str = "urn:cpcds:demo:prior-auth-id"
    """`ExplanationOfBenefit.identifier.system` of prior authorizations."""
    organization_id_system: str = "urn:cpcds:demo:organization-id"
    """System of the payer's organization ids."""
    practitioner_id_system: str = "urn:cpcds:demo:practitioner-id"
    """System of the payer's practitioner ids."""
    payer_id_system: str = ""
    """System of payer ids in `Organization.identifier`; none where empty."""
    directory_id_system: str = Field("urn:cpcds:demo:directory-id", min_length=1)
    """System of the keys of a provider directory, as business identifiers (RI)."""
    default_network_status: Literal["", "innetwork", "outofnetwork"] = ""
    """Network status of a provider where a claim states none and its profile requires one."""


class RulesSettings(SettingGroup):
    """Severities of findings."""

    severities: dict[str, Literal["warn", "reject-row", "reject-claim"]] = Field(
        default_factory=dict
    )
    """Rule id → severity, where it is not the rule's own."""


class ClaimsSettings(SettingGroup):
    """Publication of superseded claims and of sensitive codes."""

    superseded: Literal["publish", "leave-out"] = "publish"
    """Whether a claim that another of its chain replaced is published as cancelled, or not."""
    sensitive_codes: Path | None = None
    """File of codes that are not published: `system,code[,group]`."""


class LimitsSettings(SettingGroup):
    """Limits on what is invalid, missing or moved; beyond them nothing is published (exit 4)."""

    rejected_claims: float | None = Field(None, ge=0, le=1)
    """Most share of claims that may be rejected; where not set 0.5 for `run`, and no limit for
    `convert` and `validate`."""
    rejected_members: float = Field(1.0, ge=0, le=1)
    """Most share of members that may be rejected."""
    rejected_rows: float | None = Field(None, ge=0, le=1)
    """Most share of a table's rows of a provider directory that may be rejected; where not set 0.5
    for `run`, and no limit for `convert` and `validate`."""
    findings: dict[str, int] = Field(default_factory=dict)
    """Rule id → most findings of it."""
    fewer_rows: float = Field(0.5, ge=0, le=1)
    """Most share of a table's rows that may be missing."""
    fewer_claims: float = Field(0.25, ge=0, le=1)
    """Most share of accepted claims that may be missing."""
    money_change: float = Field(0.5, ge=0)
    """Most share by which a net sum of a claim type may change."""
    retracted_members: float = Field(0.25, ge=0, le=1)
    """Most share of published members that a run may retract."""
    retracted_claims: float = Field(0.25, ge=0, le=1)
    """Most share of published claims that a run may retract."""
    retracted_resources: float = Field(0.5, ge=0, le=1)
    """Most share of the published resources of a type that a run may retract."""
    unowned_rows: int | None = Field(None, ge=0)
    """Most rows that cannot be read and belong to nothing that is known; where not set, 0 for
    `run`, and no limit for `convert` and `validate`."""

    def of_a_run(self) -> LimitsSettings:
        """Return these limits, with those that are on by default for a run alone."""
        missing = {name: most for name, most in _OF_A_RUN.items() if getattr(self, name) is None}
        return self.model_copy(update=missing)


_OF_A_RUN: Final[Mapping[str, float]] = MappingProxyType(
    {"rejected_claims": 0.5, "rejected_rows": 0.5, "unowned_rows": 0}
)


class RunSettings(SettingGroup):
    """Resources of a run. They have no influence on the output."""

    partition_rows: int = Field(200_000, ge=1)
    """About how many rows of input are worked on at a time."""
    workers: int = Field(0, ge=0)
    """Processes; 0 for one a processor."""
    memory: ByteSize | None = None
    """Most memory of all processes of a run together; no bound where not set."""
    executor: Literal["local", "spark"] = "local"
    """Where `cpcds run` and `cpcds verify` do their work: local for the processes of this machine,
    spark for the executors of Apache Spark."""
    master: str | None = None
    """Where Apache Spark runs, as for spark-submit, or sc://host of Spark Connect; the session that
    the platform gives, where not set."""
    work: Path | None = None
    """Folder for what is in progress; in the target's, or for object storage in the current one,
    where not set."""


class ReportSettings(SettingGroup):
    """Contents of the validation report."""

    gx_rows: int = Field(2_000, ge=0)
    """About how many rows of the largest file Great Expectations looks at; 0 to leave it out."""
    small_cells: int = Field(10, ge=0)
    """Most claims whose sum of money the report withholds, and most members or requests whose
    number a public page withholds; 0 to withhold none."""


class RetentionSettings(SettingGroup):
    """Retention of what no reader needs."""

    report_days: float | None = Field(None, ge=1)
    """Age at which prunes delete reports of releases that stay."""
    quarantine_days: float | None = Field(None, ge=1)
    """Age at which prunes delete quarantines of releases that stay."""


class MonitoringSettings(SettingGroup):
    """Hooks of runs. What does not work is a line in the log, and never fails a run."""

    textfile: Path | None = None
    """File with metrics of the last run, for Prometheus' node exporter."""
    notify_command: tuple[str, ...] = ()
    """Program, with arguments, that gets the summary as JSON on standard input."""
    notify_services: tuple[SecretStr, ...] = ()
    """Services of apprise that get the summary."""
    notify_on: Literal["always", "failure"] = "always"
    """Whether a summary goes out after every run, or failures alone."""


class LineageSettings(SettingGroup):
    """OpenLineage events of runs."""

    to: str = ""
    """URL of an OpenLineage API, or a file to which events are added."""
    namespace: str = "cpcds"
    """Namespace of the job."""
    api_key: SecretStr = SecretStr("")
    """Key of the API."""


class StorageSettings(SettingGroup):
    """Object storage. A folder needs none of it; credentials come by AWS's usual chain."""

    endpoint_url: str | None = None
    """URL of an S3-compatible server other than AWS."""
    region: str | None = None
    """Region of the bucket; AWS's own way if not set."""
    profile: str | None = None
    """Profile in the AWS configuration files."""
    sse: Literal["AES256", "aws:kms"] | None = None
    """Server-side encryption of what is written."""
    sse_key: str | None = None
    """KMS key for `aws:kms`; the bucket's own where not set."""
    storage_class: str | None = None
    """Storage class of what is written; the bucket's default where not set."""


class ExtractSettings(SettingGroup):
    """Object storage that extracts are read from, where it is another than the target's."""

    endpoint_url: str | None = None
    """URL of an S3-compatible server; that of `store` where not set."""
    region: str | None = None
    """Region; that of `store` where not set."""
    profile: str | None = None
    """Profile of an identity that may list and read; that of `store` where not set."""


class PublishSettings(SettingGroup):
    """Publication, retention, and files beside the blocks."""

    view: Literal["financial", "basis"] = "financial"
    """Which view of claims is made: all of them, or `basis`, without any amount."""
    plan_net: Literal["1.2.0", "1.1.0"] = "1.2.0"
    """Which version of Plan-Net a provider directory is published in."""
    displays: bool = True
    """Whether codes are published with what their code system calls them."""
    deltas: bool = False
    """Whether a full extract's rows are kept, so that deltas can follow it."""
    sidecar: bool = True
    """Whether the places of a full extract's rows are kept, so that `cpcds explain` names them when
    the extract is gone; the rows are not."""
    bulk: bool = True
    """Whether bulk files by resource type are written."""
    base_url: str = ""
    """URL that the tree is served under; links are relative where empty."""
    cadence: str = "P1D"
    """ISO 8601 duration between releases."""
    requires_access_token: bool = True
    """Whether clients need an access token for the files."""
    timestamp_url: SecretStr | None = None
    """URL of an authority that stamps the time of each published release (RFC 3161)."""
    signing_key: Path | None = None
    """PEM file with an Ed25519 private key that signs each release; none signs nothing."""
    mode: Literal["0700", "0750", "0755"] = "0700"
    """Mode of folders that are written, whatever the umask; files have the same without the right
    to execute."""

    @property
    def folder_mode(self) -> int:
        """The mode as a number."""
        return int(self.mode, 8)


class ServeSettings(SettingGroup):
    """Serving of the published tree."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on."""
    workers: int = Field(1, ge=1, le=256)
    """Processes."""
    base_url: str = ""
    """Scheme, host and port by which apps reach the server. Links are made from it."""
    cursor_key: SecretStr = SecretStr("")
    """Secret that seals page links; made at start where empty."""
    log_key: SecretStr = SecretStr("")
    """Secret of the hash that stands for patients in logs; made at start if empty."""
    log: Literal["json", "off"] = "json"
    """Whether requests are logged."""
    directory: str = ""
    """Target with a provider directory, a folder or `s3://bucket/prefix`, served at `/directory` to
    everybody; none if empty."""
    metrics: bool = True
    """Whether `/metrics` is there."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins of browser apps that may read members' data with a token."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose `X-Forwarded-For` is believed."""
    rate_limit: str = "600/minute"
    """Requests of one app for one member, a worker; none where empty."""
    refused_limit: str = "60/minute"
    """Requests with no or an invalid token, by address and worker."""
    request_seconds: float = Field(30.0, gt=0)
    """How long a request may take."""
    cache_bytes: int = Field(64 * 1024 * 1024, ge=0)
    """Memory for what was read, a worker."""
    page_size: int = Field(10, ge=1)
    """Matches a page where `_count` is not given."""

    @property
    def reached_at(self) -> str:
        """Scheme, host and port of every link, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.base_url.rstrip("/") or f"http://{host}:{self.port}"


class PortalSettings(SettingGroup):
    """The developer portal; the payer's words, brand and look are in a file of their own."""

    enabled: bool = True
    """Whether the portal is there, where there is an authorization server."""
    file: Path | None = None
    """`portal.toml`: title, contact, links, brand, look and texts."""
    reports: Path | None = None
    """Folder of the yearly numbers that `cpcds report … --post` made public: they are served at
    `/public-reporting`; where not set, nothing is there."""


class AuthSettings(SettingGroup):
    """The authorization server, its members, its audit trail."""

    mode: Literal["off", "sandbox", "production"] = "off"
    """`sandbox`: apps work as soon as they are registered; `production`: they wait for `cpcds apps
    approve`; `off`: no authorization server."""
    database: str = "sqlite:///cpcds-auth.sqlite3"
    """Where apps, accounts and consents are kept: SQLite, or PostgreSQL."""
    secret: SecretStr = SecretStr("")
    """Secret behind cookies and stored signing keys; made beside SQLite if empty."""
    audit: Path = Path("cpcds-audit")
    """Folder of the audit trail."""
    oidc_issuer: str = ""
    """Issuer of the payer's OpenID Connect provider."""
    oidc_client_id: str = ""
    """This server's client id there."""
    oidc_client_secret: SecretStr = SecretStr("")
    """This server's secret there. Set it by environment."""
    oidc_scope: str = "openid profile"
    """What is asked of the provider."""
    oidc_member_claim: str = "member_id"
    """Claim of the ID token that holds the member id."""
    demo_members: Path | None = None
    """`member.csv` of made-up members that anyone may sign in as; sandbox only."""
    consent_days: tuple[int, ...] = Field((90, 30, 365), min_length=1)
    """Terms of a consent that members choose from, the preselected first."""
    limits: dict[str, str] = Field(default_factory=dict)
    """Endpoint → most calls of an address or app, a worker; none where empty."""
    plain_apps: tuple[str, ...] = ()
    """Ids of apps that may do without scope, `state`, `aud` and PKCE; none else."""
    introspectors: tuple[str, ...] = ()
    """Ids of apps that may introspect everyone's tokens."""
    mail_server: SecretStr = SecretStr("")
    """`smtps://user:password@host` (TLS), or `smtp:` (STARTTLS; on a loopback address neither), for
    developers' sign-in links; empty for none. Set it by environment."""
    mail_from: str = ""
    """Address that mail comes from."""
