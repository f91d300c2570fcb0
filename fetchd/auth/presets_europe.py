"""Providers of Europe and Russia, and what is known of them. See `preset` for the fields."""

from datetime import timedelta

from fetchd.auth.preset import (
    Caps,
    Fact,
    Preset,
    Quirk,
    Region,
    Secret,
    imaps,
    pop3s,
    submissions,
)

_ISPDB = "https://autoconfig.thunderbird.net/v1.1/"

GMX = Preset(
    name="gmx",
    title="GMX",
    domains=(
        "gmx.net", "gmx.de", "gmx.at", "gmx.ch", "gmx.eu", "gmx.biz", "gmx.org", "gmx.info",
        "mein.gmx", "mail.gmx", "email.gmx", "gmx.com", "gmx.us", "gmx.co.uk", "gmx.es", "gmx.fr",
        "gmx.it", "gmx.ca", "gmx.ie", "gmx.pt", "gmx.se", "gmx.li", "gmx.tm",
    ),
    mx=("gmx.net",),
    imap=imaps("imap.gmx.net"),
    pop3=pop3s("pop.gmx.net"),
    smtp=submissions("mail.gmx.net"),
    regions=(
        Region(
            domains=(
                "gmx.com", "gmx.us", "gmx.co.uk", "gmx.es", "gmx.fr", "gmx.it", "gmx.ca",
                "gmx.ie", "gmx.pt", "gmx.se", "gmx.li", "gmx.tm",
            ),
            imap=imaps("imap.gmx.com"),
            pop3=pop3s("pop.gmx.com"),
            smtp=submissions("mail.gmx.com"),
        ),
    ),
    secrets=(Secret.PASSWORD, Secret.APP_PASSWORD),
    notes=(
        "IMAP and POP3 must be turned on in the settings of GMX.",
        "With two-factor authentication an app password is needed.",
    ),
    facts=(
        Fact("servers", "https://hilfe.gmx.net/pop-imap/imap/imap-serverdaten.html"),
        Fact("to be turned on", "https://hilfe.gmx.net/pop-imap/einschalten.html"),
        Fact("servers elsewhere", f"{_ISPDB}gmx.com"),
    ),
)  # fmt: skip
WEBDE = Preset(
    name="webde",
    title="WEB.DE",
    domains=("web.de",),
    mx=("web.de",),
    imap=imaps("imap.web.de"),
    pop3=pop3s("pop3.web.de"),
    smtp=submissions("smtp.web.de"),
    username="local",
    secrets=(Secret.PASSWORD, Secret.APP_PASSWORD),
    pop3_caps=Caps(poll_floor=timedelta(seconds=720)),
    notes=(
        "IMAP and POP3 must be turned on in the settings of WEB.DE.",
        "With two-factor authentication an app password is needed.",
    ),
    facts=(
        Fact("servers", "https://hilfe.web.de/pop-imap/imap/imap-serverdaten.html"),
        Fact("to be turned on", "https://hilfe.web.de/pop-imap/einschalten.html"),
        Fact(
            "POP3 every 720 s at most (observed, 2012)",
            "https://github.com/jens-maus/yam/issues/305",
        ),
    ),
)
OVH = Preset(
    name="ovh",
    title="OVHcloud",
    domains=("ovh.net",),
    hosts=("imap.mail.ovh.net", "pop.mail.ovh.net", "smtp.mail.ovh.net"),
    mx=("mail.ovh.net", "ovh.net"),
    imap=imaps("ssl0.ovh.net"),
    pop3=pop3s("ssl0.ovh.net"),
    smtp=submissions("ssl0.ovh.net"),
    pop3_caps=Caps(poll_floor=timedelta(seconds=60)),
    facts=(
        Fact("servers", f"{_ISPDB}ovh.net"),
        Fact("POP3 every 60 s at most", "http://help.ovh.co.uk/EmailPopTooOften"),
    ),
)
GANDI = Preset(
    name="gandi",
    title="Gandi",
    domains=("gandi.net",),
    mx=("mail.gandi.net",),
    imap=imaps("mail.gandi.net"),
    pop3=pop3s("mail.gandi.net"),
    smtp=submissions("mail.gandi.net"),
    facts=(Fact("servers", f"{_ISPDB}gandi.net"),),
)
MAILBOX_ORG = Preset(
    name="mailbox.org",
    title="mailbox.org",
    domains=("mailbox.org",),
    mx=("mailbox.org",),
    imap=imaps("imap.mailbox.org"),
    pop3=pop3s("pop3.mailbox.org"),
    smtp=submissions("smtp.mailbox.org"),
    secrets=(Secret.PASSWORD, Secret.APP_PASSWORD),
    notes=("With two-factor authentication an app password is needed.",),
    facts=(
        Fact("servers, passwords", "https://kb.mailbox.org/en/private/e-mail/e-mail-configuration"),
    ),
)
POSTEO = Preset(
    name="posteo",
    title="Posteo",
    domains=(
        "posteo.de", "posteo.at", "posteo.be", "posteo.ca", "posteo.ch", "posteo.co", "posteo.com",
        "posteo.cz", "posteo.dk", "posteo.ee", "posteo.es", "posteo.eu", "posteo.fi", "posteo.gr",
        "posteo.hr", "posteo.hu", "posteo.ie", "posteo.is", "posteo.it", "posteo.li", "posteo.lt",
        "posteo.lu", "posteo.me", "posteo.net", "posteo.nl", "posteo.no", "posteo.org",
        "posteo.pl", "posteo.pt", "posteo.ro", "posteo.se", "posteo.si", "posteo.uk", "posteo.us",
    ),
    mx=("posteo.de",),
    imap=imaps("posteo.de"),
    pop3=pop3s("posteo.de"),
    smtp=submissions("posteo.de"),
    facts=(
        Fact(
            "servers",
            "https://posteo.de/hilfe/wie-richte-ich-posteo-in-einem-mailprogramm-ein-pop3-imap-und-smtp",
        ),
    ),
)  # fmt: skip
YANDEX = Preset(
    name="yandex",
    title="Yandex Mail",
    domains=(
        "yandex.ru", "yandex.com", "yandex.net", "yandex.by", "yandex.kz", "yandex.ua", "ya.ru",
        "narod.ru",
    ),
    hosts=("imap.yandex.ru", "pop.yandex.ru", "smtp.yandex.ru"),
    mx=("yandex.net", "yandex.ru"),
    imap=imaps("imap.yandex.com"),
    pop3=pop3s("pop.yandex.com"),
    smtp=submissions("smtp.yandex.com"),
    secrets=(Secret.APP_PASSWORD,),
    app_passwords="https://id.yandex.com/security/app-passwords",
    quirks=frozenset({Quirk.WRONG_SEARCH, Quirk.REPEATS_BYE}),
    notes=("IMAP and POP3 must be turned on in the settings of Yandex Mail.",),
    facts=(
        Fact("servers", f"{_ISPDB}yandex.ru"),
        Fact("BYE", "https://github.com/jstedfast/MailKit/issues/938"),
    ),
)  # fmt: skip
MAILRU = Preset(
    name="mailru",
    title="Mail.ru",
    domains=("mail.ru", "inbox.ru", "list.ru", "bk.ru", "internet.ru"),
    mx=("mail.ru",),
    imap=imaps("imap.mail.ru"),
    pop3=pop3s("pop.mail.ru"),
    smtp=submissions("smtp.mail.ru"),
    secrets=(Secret.APP_PASSWORD,),
    app_passwords="https://account.mail.ru/user/2-step-auth/passwords/",
    facts=(Fact("servers", f"{_ISPDB}mail.ru"),),
)

EUROPE = (GMX, WEBDE, OVH, GANDI, MAILBOX_ORG, POSTEO, YANDEX, MAILRU)
