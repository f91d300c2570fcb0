"""Providers with users everywhere, and what is known of them. See `preset` for the fields."""

from datetime import timedelta

from fetchd.auth.preset import (
    MB,
    Caps,
    Endpoint,
    Fact,
    Preset,
    Quirk,
    Region,
    Secret,
    imaps,
    pop3s,
    submission,
    submissions,
)

_ISPDB = "https://autoconfig.thunderbird.net/v1.1/"
_GOOGLE_LIMITS = Fact(
    "bytes per day by IMAP and POP3", "https://support.google.com/a/answer/1071518"
)
_GOOGLE_FACTS = (
    Fact("servers", f"{_ISPDB}gmail.com"),
    _GOOGLE_LIMITS,
    Fact("15 connections for each account", "https://support.google.com/mail/answer/7126229"),
    Fact("polls no closer than 10 minutes", "https://support.google.com/mail/?p=BadCredentials"),
    Fact("message size: APPENDLIMIT of imap.gmail.com", "https://imapsync.lamiral.info/FAQ.d/"),
    Fact("POP3 sessions show a part", "https://support.google.com/mail/answer/7104828"),
)
_GOOGLE_QUIRKS = frozenset({Quirk.LABELS, Quirk.POP_HIDES, Quirk.POP_IN_PARTS})
_GOOGLE_FLOOR = timedelta(minutes=10)
_GOOGLE_IMAP = Caps(
    download_per_day=2500 * MB, upload_per_day=500 * MB, connections=15, poll_floor=_GOOGLE_FLOOR
)
_GOOGLE_POP3 = Caps(download_per_day=1250 * MB, poll_floor=_GOOGLE_FLOOR)
_GOOGLE_APP_PASSWORDS = "https://myaccount.google.com/apppasswords"
# \\All has what lies under any label; spam and trash it has not.
_GOOGLE_MAILBOXES = ("\\All", "\\Junk", "\\Trash")

GMAIL = Preset(
    name="gmail",
    title="Gmail",
    domains=("gmail.com", "googlemail.com"),
    mx=("gmail-smtp-in.l.google.com",),
    imap=imaps("imap.gmail.com"),
    pop3=pop3s("pop.gmail.com"),
    smtp=submissions("smtp.gmail.com"),
    secrets=(Secret.APP_PASSWORD, Secret.OAUTH2),
    issuer="google",
    app_passwords=_GOOGLE_APP_PASSWORDS,
    imap_caps=_GOOGLE_IMAP,
    pop3_caps=_GOOGLE_POP3,
    message_size=35_651_584,
    quirks=_GOOGLE_QUIRKS,
    mailboxes=_GOOGLE_MAILBOXES,
    notes=(
        "App passwords need 2-step verification to be on.",
        "POP3 must be turned on in the settings of Gmail.",
    ),
    facts=_GOOGLE_FACTS,
)
WORKSPACE = Preset(
    name="google-workspace",
    title="Google Workspace",
    mx=("google.com", "googlemail.com"),
    imap=GMAIL.imap,
    pop3=GMAIL.pop3,
    smtp=GMAIL.smtp,
    secrets=(Secret.OAUTH2, Secret.APP_PASSWORD),
    issuer="google",
    app_passwords=_GOOGLE_APP_PASSWORDS,
    imap_caps=_GOOGLE_IMAP,
    pop3_caps=_GOOGLE_POP3,
    message_size=35_651_584,
    quirks=_GOOGLE_QUIRKS,
    mailboxes=_GOOGLE_MAILBOXES,
    notes=("The administrator decides on IMAP, POP3 and app passwords.",),
    facts=_GOOGLE_FACTS,
)

_MICROSOFT_QUIRKS = frozenset({Quirk.TWO_STEP_OAUTH, Quirk.THROTTLES, Quirk.NOT_CONNECTED})
_MICROSOFT_HABITS = (
    Fact("two-step XOAUTH2", "https://github.com/getmail6/getmail6/issues/256"),
    Fact("'not connected' passes", "https://github.com/jstedfast/MailKit/issues/1494"),
    Fact("'Suggested Backoff Time'", "https://imapsync.lamiral.info/FAQ.d/FAQ.Exchange.txt"),
)
_OFFICE = "outlook.office365.com"

OUTLOOK = Preset(
    name="outlook",
    title="Outlook.com",
    domains=(
        "outlook.com", "hotmail.com", "live.com", "msn.com", "windowslive.com", "passport.com",
        "outlook.at", "outlook.be", "outlook.cl", "outlook.cz", "outlook.de", "outlook.dk",
        "outlook.es", "outlook.fr", "outlook.hu", "outlook.ie", "outlook.in", "outlook.it",
        "outlook.jp", "outlook.kr", "outlook.lv", "outlook.my", "outlook.ph", "outlook.pt",
        "outlook.sa", "outlook.sg", "outlook.sk", "outlook.co.id", "outlook.co.il",
        "outlook.co.th", "outlook.com.ar", "outlook.com.au", "outlook.com.br", "outlook.com.gr",
        "outlook.com.tr", "outlook.com.vn", "hotmail.be", "hotmail.ca", "hotmail.cl",
        "hotmail.cz", "hotmail.de", "hotmail.dk", "hotmail.es", "hotmail.fi", "hotmail.fr",
        "hotmail.gr", "hotmail.hu", "hotmail.it", "hotmail.nl", "hotmail.no", "hotmail.se",
        "hotmail.sg", "hotmail.co.jp", "hotmail.co.kr", "hotmail.co.th", "hotmail.co.uk",
        "hotmail.com.ar", "hotmail.com.br", "live.at", "live.be", "live.ca", "live.cl",
        "live.de", "live.dk", "live.fr", "live.ie", "live.it", "live.jp", "live.nl", "live.no",
        "live.se", "live.co.uk", "live.com.ar", "live.com.au", "live.com.mx", "live.com.pt",
    ),
    hosts=("imap-mail.outlook.com", "pop-mail.outlook.com"),
    mx=("olc.protection.outlook.com",),
    imap=imaps(_OFFICE),
    pop3=pop3s(_OFFICE),
    smtp=submission("smtp-mail.outlook.com"),
    secrets=(Secret.OAUTH2,),
    issuer="microsoft",
    quirks=_MICROSOFT_QUIRKS,
    notes=("IMAP and POP3 are off until they are turned on in the settings of Outlook.com.",),
    facts=(
        Fact(
            "servers, OAuth2 only",
            "https://support.microsoft.com/office/8361e398-8af4-4e97-b147-6c6c4ac95353",
        ),
        *_MICROSOFT_HABITS,
    ),
)  # fmt: skip
MICROSOFT365 = Preset(
    name="microsoft365",
    title="Microsoft 365",
    hosts=("imap.outlook.com", "outlook.office.com"),
    mx=("mail.protection.outlook.com", "mx.microsoft"),
    imap=imaps(_OFFICE),
    pop3=pop3s(_OFFICE),
    smtp=submission("smtp.office365.com"),
    secrets=(Secret.OAUTH2,),
    issuer="microsoft",
    quirks=_MICROSOFT_QUIRKS,
    notes=("The administrator decides on IMAP, POP3 and which applications may log in.",),
    facts=(
        Fact(
            "servers",
            "https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/pop3-and-imap4/pop3-and-imap4",
        ),
        *_MICROSOFT_HABITS,
    ),
)

YAHOO = Preset(
    name="yahoo",
    title="Yahoo Mail",
    domains=(
        "yahoo.com", "ymail.com", "rocketmail.com", "myyahoo.com", "yahoo.ca", "yahoo.de",
        "yahoo.it", "yahoo.fr", "yahoo.es", "yahoo.se", "yahoo.co.in", "yahoo.in", "yahoo.co.uk",
        "yahoo.co.nz", "yahoo.com.au", "yahoo.com.ar", "yahoo.com.br", "yahoo.com.mx", "yahoo.ie",
        "yahoo.gr", "yahoo.com.sg", "yahoo.com.ph", "yahoo.co.id",
    ),
    hosts=("export.imap.mail.yahoo.com",),
    mx=("yahoodns.net",),
    imap=imaps("imap.mail.yahoo.com"),
    pop3=pop3s("pop.mail.yahoo.com"),
    smtp=submissions("smtp.mail.yahoo.com"),
    secrets=(Secret.APP_PASSWORD, Secret.OAUTH2),
    issuer="yahoo",
    app_passwords="https://login.yahoo.com/account/security",
    quirks=frozenset({Quirk.LISTS_AT_MOST}),
    notes=(
        "A mailbox may show 10,000 messages at most.",
        "The host export.imap.mail.yahoo.com is there for taking home all of it.",
    ),
    facts=(
        Fact("servers", f"{_ISPDB}yahoo.com"),
        Fact("10,000 messages (observed)", "https://github.com/rustmailer/bichon/issues/286"),
    ),
)  # fmt: skip
AOL = Preset(
    name="aol",
    title="AOL Mail",
    domains=(
        "aol.com", "aim.com", "netscape.net", "netscape.com", "compuserve.com", "cs.com",
        "wmconnect.com", "aol.de", "aol.it", "aol.fr", "aol.es", "aol.se", "aol.co.uk",
        "aol.co.nz", "aol.com.au", "aol.com.ar", "aol.com.br", "aol.com.mx",
    ),
    hosts=("export.imap.aol.com",),
    mx=("mail.gm0.yahoodns.net",),
    imap=imaps("imap.aol.com"),
    pop3=pop3s("pop.aol.com"),
    smtp=submissions("smtp.aol.com"),
    secrets=(Secret.APP_PASSWORD, Secret.OAUTH2),
    issuer="aol",
    app_passwords="https://login.aol.com/account/security",
    facts=(Fact("servers", f"{_ISPDB}aol.com"),),
)  # fmt: skip

ICLOUD = Preset(
    name="icloud",
    title="iCloud Mail",
    domains=("icloud.com", "me.com", "mac.com"),
    mx=("mail.icloud.com",),
    imap=imaps("imap.mail.me.com"),
    smtp=submission("smtp.mail.me.com"),
    username="local",
    secrets=(Secret.APP_PASSWORD,),
    app_passwords="https://account.apple.com",
    message_size=20 * MB,
    quirks=frozenset({Quirk.ENABLE_UNTOLD, Quirk.FETCH_RFC822}),
    notes=("There is no POP3.",),
    facts=(
        Fact("servers, app-specific passwords", "https://support.apple.com/102525"),
        Fact("message size", "https://support.apple.com/102198"),
        Fact("ENABLE", "https://github.com/jstedfast/MailKit/issues/1871"),
    ),
)
FASTMAIL = Preset(
    name="fastmail",
    title="Fastmail",
    domains=("fastmail.com", "fastmail.fm", "fastmail.org", "fastmail.net", "messagingengine.com"),
    hosts=("mail.messagingengine.com",),
    mx=("messagingengine.com",),
    imap=imaps("imap.fastmail.com"),
    pop3=pop3s("pop.fastmail.com"),
    smtp=submissions("smtp.fastmail.com"),
    secrets=(Secret.APP_PASSWORD, Secret.OAUTH2),
    issuer="fastmail",
    app_passwords="https://app.fastmail.com/settings/security/apps",
    facts=(
        Fact("app passwords", "https://www.fastmail.help/hc/en-us/articles/1500000279921"),
        Fact("servers", f"{_ISPDB}messagingengine.com"),
    ),
)
PROTON = Preset(
    name="proton",
    title="Proton Mail Bridge",
    domains=("proton.me", "protonmail.com", "protonmail.ch", "pm.me"),
    mx=("protonmail.ch",),
    imap=Endpoint("127.0.0.1", 1143, "starttls"),
    smtp=Endpoint("127.0.0.1", 1025, "starttls"),
    secrets=(Secret.APP_PASSWORD,),
    app_passwords="https://proton.me/support/protonmail-bridge-faq",
    quirks=frozenset({Quirk.NO_LIST_RETURN}),
    notes=(
        "Proton Mail Bridge must run on this machine; the password is the one that it shows.",
        "Its certificate is signed by itself: export it there for ca_file, or use fingerprint.",
    ),
    facts=(
        Fact("the bridge's password", "https://proton.me/support/protonmail-bridge-faq"),
        Fact("its certificate", "https://proton.me/support/macos-certificate-warning"),
        Fact("LIST", "https://github.com/jstedfast/MailKit/issues/674"),
    ),
)


def _zoho(end: str, *, zone: str = "zoho", mail: str = "zohomail") -> tuple[Region, Region]:
    """A data centre: for its own domains, and for those of its customers."""
    own = Region(
        domains=(f"{zone}.{end}", f"{mail}.{end}"),
        imap=imaps(f"imap.{zone}.{end}"),
        pop3=pop3s(f"pop.{zone}.{end}"),
        smtp=submissions(f"smtp.{zone}.{end}"),
    )
    customers = Region(
        mx=(f"{zone}.{end}",),
        imap=imaps(f"imappro.{zone}.{end}"),
        pop3=pop3s(f"poppro.{zone}.{end}"),
        smtp=submissions(f"smtppro.{zone}.{end}"),
    )
    return own, customers


_ZOHO = (
    *_zoho("com"), *_zoho("eu"), *_zoho("in"), *_zoho("com.au"), *_zoho("jp"),
    *_zoho("ca", zone="zohocloud", mail="zohomailcloud"),
)  # fmt: skip
ZOHO = Preset(
    name="zoho",
    title="Zoho Mail",
    domains=tuple(domain for region in _ZOHO for domain in region.domains),
    imap=_ZOHO[0].imap,
    pop3=_ZOHO[0].pop3,
    smtp=_ZOHO[0].smtp,
    regions=_ZOHO,
    secrets=(Secret.PASSWORD, Secret.APP_PASSWORD),
    app_passwords="https://accounts.zoho.com/home#security/app_password",
    imap_caps=Caps(connections=3),
    quirks=frozenset({Quirk.BAD_MODSEQ}),
    notes=(
        "IMAP and POP3 must be turned on in the settings of Zoho Mail; free plans may lack them.",
        "With two-factor authentication an app password is needed.",
    ),
    facts=(
        Fact("servers by IMAP", "https://www.zoho.com/mail/help/imap-access.html"),
        Fact("servers by POP3", "https://www.zoho.com/mail/help/pop-access.html"),
        Fact(
            "3 connections (observed)",
            "https://github.com/maathimself/mailflow/releases/tag/v4.5.1",
        ),
        Fact("HIGHESTMODSEQ", "https://github.com/jstedfast/MailKit/issues/1686"),
    ),
)

WORLD = (GMAIL, WORKSPACE, OUTLOOK, MICROSOFT365, YAHOO, AOL, ICLOUD, FASTMAIL, PROTON, ZOHO)
