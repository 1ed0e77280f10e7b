"""What outside testers ask of a Plan-Net server, as the TOML file beside this says."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.given.tables import read_tables


@dataclass(frozen=True, slots=True)
class Group:
    """Checks of one profile.

    Attributes:
        name: last part of the profile's canonical, without `plannet-`.
        type: FHIR resource type.
        searches: parameters, each searched by itself.
        must_support: paths, as `PARAMETERS` writes them; `path=value` asks for that value.
        must_support_later: those that 1.2.0 asks for as well.
        includes: parameters of `_include`.
        reverse_includes: `Type:parameter` of `_revinclude`.
        chains: reference parameter → parameters of what it refers to.
        reverse_chains: `Type:parameter` of `_has` → parameters of that type.
        modifiers: `parameter:modifier` that SearchParameters of the guide name and Inferno does not
            test, of tokens; a server may leave them out.
        optional: parameters of `searches` and `includes` that a server may leave out.
    """

    name: str
    type: str
    searches: str
    must_support: str
    must_support_later: str = ""
    includes: str = ""
    reverse_includes: str = ""
    chains: Mapping[str, str] | None = None
    reverse_chains: Mapping[str, str] | None = None
    modifiers: str = ""
    optional: str = "_lastUpdated"


_TABLES = read_tables(__file__)
PROFILES = _TABLES["profiles"]
PARAMETERS = _TABLES["parameters"]
COMBINATIONS = _TABLES["combinations"]
GROUPS = [Group(**group) for group in _TABLES["groups"]]
