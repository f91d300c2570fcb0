"""What is known of providers: that it holds together, and that docs/providers.md says the same."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.auth.presets import (
    PRESETS,
    Caps,
    Preset,
    Quirk,
    Secret,
    preset_named,
    preset_of,
    preset_of_domain,
    preset_of_exchanger,
)
from fetchd.policy.patterns import pattern
from fetchd.policy.providers import PROVIDERS
from fetchd.settings.oauth2 import ISSUERS

DOCUMENT = Path(__file__).parents[2] / "docs" / "providers.md"
NAMES = [preset.name for preset in PRESETS]
TLS = {
    ("imap", 993): "implicit",
    ("pop3", 995): "implicit",
    ("smtp", 465): "implicit",
    ("smtp", 587): "starttls",
}


def every() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("preset", PRESETS, ids=NAMES)


@every()
def test_a_preset_is_whole(preset: Preset) -> None:
    assert preset.imap is not None
    assert preset.title
    assert preset.secrets
    assert preset.facts
    for fact in preset.facts:
        assert fact.what
        assert re.match(r"https?://\S+\Z|the ", fact.source), fact.source
    for one in preset.mailboxes:
        pattern(one)
    assert preset.username in ("address", "local")


@every()
def test_ports_and_tls_fit_together(preset: Preset) -> None:
    for place in (preset, *preset.regions):
        for protocol in ("imap", "pop3", "smtp"):
            server = getattr(place, protocol)
            if server is None:
                continue
            assert re.fullmatch(r"[a-z0-9.-]+", server.host)
            if server.host != "127.0.0.1":
                assert TLS[protocol, server.port] == server.tls


@every()
def test_oauth2_has_an_issuer_that_the_settings_know(preset: Preset) -> None:
    assert (Secret.OAUTH2 in preset.secrets) == (preset.issuer is not None)
    assert preset.issuer is None or preset.issuer in ISSUERS


@every()
def test_an_app_password_has_a_page_or_a_word(preset: Preset) -> None:
    if preset.secrets[0] is Secret.APP_PASSWORD:
        assert preset.app_passwords.startswith("https://")


@every()
def test_names_and_zones_are_in_lower_case_and_nobodys_twice(preset: Preset) -> None:
    others = [one for one in PRESETS if one is not preset]
    names = (*preset.domains, *preset.mx, *preset.hosts)
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in names)
    for other in others:
        assert not set(preset.domains) & set(other.domains)
        assert not set(preset.mx) & set(other.mx)
    assert len(set(preset.domains)) == len(preset.domains)


@every()
def test_every_region_is_of_the_presets_own_domains_or_has_an_exchanger(preset: Preset) -> None:
    for region in preset.regions:
        assert region.imap is not None
        assert region.mx or set(region.domains) <= set(preset.domains)


def test_the_names_that_settings_allow_are_the_presets() -> None:
    assert sorted(NAMES) == sorted(PROVIDERS)
    assert len(set(NAMES)) == len(NAMES)
    assert all(preset_named(name).name == name for name in NAMES if preset_named(name))  # type: ignore[union-attr]
    assert preset_named("nobody") is None


@pytest.mark.parametrize(
    ("host", "username", "name"),
    [
        ("imap.gmail.com", "me@gmail.com", "gmail"),
        ("IMAP.gmail.com.", "me@GoogleMail.com", "gmail"),
        ("imap.gmail.com", "me@example.org", "google-workspace"),
        ("pop.gmail.com", "", "google-workspace"),
        ("outlook.office365.com", "me@hotmail.com", "outlook"),
        ("outlook.office365.com", "me@example.org", "microsoft365"),
        ("imap-mail.outlook.com", "me@example.org", "outlook"),
        ("export.imap.mail.yahoo.com", "me@yahoo.com", "yahoo"),
        ("imap.gmx.com", "me@gmx.com", "gmx"),
        ("imappro.zoho.eu", "me@example.org", "zoho"),
        ("imap.126.com", "me@126.com", "netease"),
        ("127.0.0.1", "me@proton.me", None),
        ("localhost", "me", None),
        ("imap.example.org", "me@gmail.com", None),
        ("evil-imap.gmail.com", "me@gmail.com", None),
        ("", "", None),
    ],
)
def test_the_host_says_whose_it_is_and_the_user_where_two_share_it(
    host: str, username: str, name: str | None
) -> None:
    found = preset_of(host, username)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("exchanger", "name"),
    [
        ("aspmx.l.google.com", "google-workspace"),
        ("ALT1.gmail-smtp-in.l.google.com.", "gmail"),
        ("example-org.mail.protection.outlook.com", "microsoft365"),
        ("hotmail-com.olc.protection.outlook.com", "outlook"),
        ("mx-aol.mail.gm0.yahoodns.net", "aol"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("mx2.zoho.in", "zoho"),
        ("mxn.mxhichina.com", "aliyun"),
        ("mx.example.org", None),
        ("notgoogle.com", None),
        ("", None),
    ],
)
def test_the_longest_end_of_an_exchangers_name_says_whose_it_is(
    exchanger: str, name: str | None
) -> None:
    found = preset_of_exchanger(exchanger)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("domain", "exchanger", "host"),
    [
        ("gmx.de", "", "imap.gmx.net"),
        ("gmx.com", "", "imap.gmx.com"),
        ("zohomail.eu", "", "imap.zoho.eu"),
        ("example.org", "mx.zoho.eu", "imappro.zoho.eu"),
        ("example.org", "mx.zoho.com", "imappro.zoho.com"),
        ("yeah.net", "", "imap.yeah.net"),
        ("sina.cn", "", "imap.sina.cn"),
        ("example.org", "mxn.mxhichina.com", "imap.qiye.aliyun.com"),
    ],
)
def test_a_region_has_servers_of_its_own(domain: str, exchanger: str, host: str) -> None:
    preset = preset_of_domain(domain) or preset_of_exchanger(exchanger)
    assert preset is not None
    server = preset.region(domain, exchanger).imap
    assert server is not None
    assert server.host == host


def test_googles_figures_are_the_published_ones() -> None:
    for name in ("gmail", "google-workspace"):
        preset = preset_named(name)
        assert preset is not None
        assert preset.caps("imap") == Caps(
            2_500_000_000, 500_000_000, None, 15, timedelta(minutes=10), "account"
        )
        assert preset.caps("pop3").download_per_day == 1_250_000_000
        assert preset.mailboxes == ("\\All", "\\Junk", "\\Trash")


# -- The document --------------------------------------------------------------------


def _servers(preset: Preset) -> str:
    servers = (preset.imap, preset.pop3, preset.smtp)
    return ", ".join(f"{one.host}:{one.port}" for one in servers if one is not None)


def _caps(preset: Preset) -> str:
    words = []
    for protocol, caps in (("IMAP", preset.imap_caps), ("POP3", preset.pop3_caps)):
        limits = [
            f"{caps.download_per_day // 1_000_000:,} MB down" if caps.download_per_day else "",
            f"{caps.upload_per_day // 1_000_000:,} MB up" if caps.upload_per_day else "",
            f"{caps.connections} connections" if caps.connections else "",
            f"every {caps.poll_floor.total_seconds():.0f} s" if caps.poll_floor else "",
        ]
        if told := ", ".join(limit for limit in limits if limit):
            words.append(f"{protocol}: {told}")
    if preset.message_size:
        words.append(f"messages of {preset.message_size:,} octets")
    return "; ".join(words) or "none published"


def _ends(preset: Preset) -> str:
    zones = [*preset.mx, *(end for region in preset.regions for end in region.mx)]
    return ", ".join(f"`{zone}`" for zone in zones) or "-"


def rows(preset: Preset) -> list[str]:
    """What docs/providers.md says of a provider, line by line."""
    secrets = ", ".join(preset.secrets)
    quirks = ", ".join(sorted(f"`{quirk}`" for quirk in preset.quirks)) or "-"
    facts = [f"{fact.what}: {_link(fact.source)}" for fact in preset.facts]
    return [
        f"| `{preset.name}` | {preset.title} | {_servers(preset)} | {secrets} | {_caps(preset)} |",
        f"| `{preset.name}` | {_ends(preset)} | {quirks} | {'; '.join(facts)} |",
    ]


def _link(source: str) -> str:
    return f"<{source}>" if source.startswith("http") else source


@every()
def test_the_document_says_what_the_table_does(preset: Preset) -> None:
    lines = DOCUMENT.read_text().splitlines()
    for row in rows(preset):
        assert row in lines


def test_the_document_has_no_provider_of_its_own() -> None:
    told = re.findall(
        r"^\| `([a-z0-9.-]+)` \| [^`|]+ \| [^|]+:\d", DOCUMENT.read_text(), re.MULTILINE
    )
    assert told == NAMES


@pytest.mark.parametrize("quirk", list(Quirk))
def test_every_quirk_is_explained(quirk: Quirk) -> None:
    assert f"| `{quirk}` |" in DOCUMENT.read_text()
    assert any(quirk in preset.quirks for preset in PRESETS)
