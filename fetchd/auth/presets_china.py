"""Providers of China, and what is known of them. See `preset` for the fields.

What they call an authorization code is an app password.
"""

from fetchd.auth.preset import (
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
_OTHERS = "the tables of several mail clients, which agree"
_CODE = "The password is the authorization code that its web page gives when IMAP is turned on."

QQ = Preset(
    name="qq",
    title="QQ Mail",
    domains=("qq.com", "vip.qq.com", "foxmail.com"),
    mx=("mx1.qq.com", "mx2.qq.com", "mx3.qq.com"),
    imap=imaps("imap.qq.com"),
    pop3=pop3s("pop.qq.com"),
    smtp=submissions("smtp.qq.com"),
    secrets=(Secret.APP_PASSWORD,),
    app_passwords="https://service.mail.qq.com",
    quirks=frozenset({Quirk.NO_SEARCH, Quirk.SORTED_SETS}),
    notes=(_CODE,),
    facts=(
        Fact("servers", f"{_ISPDB}qq.com"),
        Fact("SEARCH", "https://imapsync.lamiral.info/FAQ.d/"),
        Fact("UID sets", "https://github.com/modern-email/defects/issues/40"),
    ),
)


def _netease(domain: str) -> Region:
    return Region(
        domains=(domain,),
        imap=imaps(f"imap.{domain}"),
        pop3=pop3s(f"pop.{domain}"),
        smtp=submissions(f"smtp.{domain}"),
    )


NETEASE = Preset(
    name="netease",
    title="NetEase (163, 126, yeah.net)",
    domains=("163.com", "126.com", "yeah.net"),
    imap=imaps("imap.163.com"),
    pop3=pop3s("pop.163.com"),
    smtp=submissions("smtp.163.com"),
    regions=(_netease("126.com"), _netease("yeah.net")),
    secrets=(Secret.APP_PASSWORD,),
    app_passwords="https://mail.163.com",
    quirks=frozenset({Quirk.WANTS_ID}),
    notes=(_CODE, "'Unsafe Login' means that it has not heard the ID command: fetchd sends it."),
    facts=(
        Fact("servers", f"{_ISPDB}163.com"),
        Fact(
            "the ID command",
            "https://github.com/NousResearch/hermes-agent/issues/22271",
        ),
    ),
)
SINA = Preset(
    name="sina",
    title="Sina Mail",
    domains=("sina.com", "vip.sina.com", "sina.cn"),
    imap=imaps("imap.sina.com"),
    pop3=pop3s("pop.sina.com"),
    smtp=submissions("smtp.sina.com"),
    regions=(
        Region(
            domains=("vip.sina.com",),
            imap=imaps("imap.vip.sina.com"),
            smtp=submissions("smtp.vip.sina.com"),
        ),
        Region(
            domains=("sina.cn",),
            imap=imaps("imap.sina.cn"),
            pop3=pop3s("pop.sina.cn"),
            smtp=submissions("smtp.sina.cn"),
        ),
    ),
    secrets=(Secret.APP_PASSWORD,),
    app_passwords="https://mail.sina.com.cn",
    notes=(_CODE,),
    facts=(Fact("servers (observed)", _OTHERS),),
)
ALIYUN = Preset(
    name="aliyun",
    title="Alibaba Cloud Mail",
    domains=("aliyun.com",),
    imap=imaps("imap.aliyun.com"),
    pop3=pop3s("pop3.aliyun.com"),
    smtp=submissions("smtp.aliyun.com"),
    regions=(
        Region(
            mx=("mxhichina.com", "qiye.aliyun.com"),
            imap=imaps("imap.qiye.aliyun.com"),
            smtp=submissions("smtp.qiye.aliyun.com"),
        ),
    ),
    hosts=("imap.mxhichina.com", "pop3.mxhichina.com", "smtp.mxhichina.com", "pop.aliyun.com"),
    secrets=(Secret.PASSWORD, Secret.APP_PASSWORD),
    notes=("IMAP and POP3 must be turned on in its web page, which may give a password for them.",),
    facts=(
        Fact("servers", "https://help.aliyun.com/document_detail/36576.html"),
        Fact("servers for customers' domains (observed)", _OTHERS),
    ),
)

CHINA = (QQ, NETEASE, SINA, ALIYUN)
