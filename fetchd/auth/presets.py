"""The providers that fetchd knows, and which of them an account is at.

The facts are in `presets_world`, `presets_europe` and `presets_china`, each with its source;
what a preset holds is said in `preset`. An account's `provider` names one; without it the
host decides, and where two share their servers (Gmail and Google Workspace, Outlook.com and
Microsoft 365), the domain of the user's name.

To add one: a Preset in the table of its part of the world, its name in `policy.providers`,
its row in docs/providers.md (a test says how it must read).
"""

from fetchd.auth.preset import (
    UNLIMITED,
    Caps,
    Endpoint,
    Fact,
    Preset,
    Quirk,
    Region,
    Secret,
    is_within,
)
from fetchd.auth.presets_china import CHINA
from fetchd.auth.presets_europe import EUROPE
from fetchd.auth.presets_world import WORLD

__all__ = [
    "PRESETS",
    "UNLIMITED",
    "Caps",
    "Endpoint",
    "Fact",
    "Preset",
    "Quirk",
    "Region",
    "Secret",
    "preset_named",
    "preset_of",
    "preset_of_domain",
    "preset_of_exchanger",
]

PRESETS: tuple[Preset, ...] = (*WORLD, *EUROPE, *CHINA)

_BY_NAME = {preset.name: preset for preset in PRESETS}
_BY_DOMAIN = {domain: preset for preset in PRESETS for domain in preset.domains}
_BY_HOST: dict[str, list[Preset]] = {}
for _preset in PRESETS:
    _names = (*_preset.hosts, *(endpoint.host for endpoint in _preset.endpoints))
    for _host in dict.fromkeys(_names):
        _BY_HOST.setdefault(_host, []).append(_preset)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def preset_named(name: str) -> Preset | None:
    """The one that an account's `provider` names."""
    return _BY_NAME.get(name)


def preset_of_domain(domain: str) -> Preset | None:
    """Whose own domain an address has."""
    return _BY_DOMAIN.get(_plain(domain))


def preset_of(host: str, username: str = "") -> Preset | None:
    """At whose server this is; of two that share it, the one with the user's domain.

    A server on this machine is nobody's: Proton's bridge is named by `provider`.
    """
    host = _plain(host)
    sharing = [] if host in _LOOPBACK else _BY_HOST.get(host, [])
    if len(sharing) < 2:
        return next(iter(sharing), None)
    domain = _plain(username.rpartition("@")[2])
    owner = next((preset for preset in sharing if domain in preset.domains), None)
    # Own domains are served by the one that has none itself.
    return owner or next((preset for preset in sharing if not preset.domains), sharing[0])


def preset_of_exchanger(host: str) -> Preset | None:
    """Who takes mail under this MX name: the one with the longest end that fits."""
    host = _plain(host)
    fitting = [
        (len(zone), preset)
        for preset in PRESETS
        for zone in (*preset.mx, *(end for region in preset.regions for end in region.mx))
        if is_within(host, (zone,))
    ]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def _plain(name: str) -> str:
    return name.strip().rstrip(".").lower()
