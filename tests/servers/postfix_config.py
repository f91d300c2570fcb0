"""The configuration that a private Postfix runs with.

Everything lies below one directory and nothing may leave the machine: mail for another
domain ends in a Maildir too. Octets stay what they were: no header is added, completed
or dropped, beyond the trace that every receiver puts on top. Refusals cost no delay,
since tests refuse much. Durability is left alone: the server must cost what it costs.

Postfix wants three users apart from root: the owner of its queue, whom we call
`daemon`, the owner of the mail (`nobody`), and a group for programs that are never run
here (`mail`). All are in every Debian, so nothing need be made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.servers.certificates import Certificate
from tests.servers.processes import HOST, MAIL_UID

OWNER, GROUP = "daemon", "mail"
ELSEWHERE = "elsewhere"  # whose Maildir holds the mail for other domains
QUEUES = (
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop",
    "private", "public", "saved", "trace",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the three kinds of sessions are taken."""

    relay: int
    submission: int
    submissions: int


@dataclass(frozen=True, slots=True)
class Options:
    """What a test may choose; `Postfix` has the defaults and says what each means."""

    domain: str
    certificate: Certificate
    discard: tuple[str, ...]
    message_size_limit: int
    auth_socket: Path
    extra: Mapping[str, str]


def main_cf(directory: Path, root: Path, options: Options) -> str:
    """The text of main.cf; what `extra` says is said last and so wins."""
    extra = "".join(f"{name} = {value}\n" for name, value in options.extra.items())
    return MAIN.format(
        directory=directory,
        root=str(root).rstrip("/"),
        options=options,
        owner=OWNER,
        group=GROUP,
        uid=MAIL_UID,
        elsewhere=ELSEWHERE,
        discard=", ".join(word.lower() for word in options.discard),
    ) + extra  # fmt: skip


def master_cf(ports: Ports) -> str:
    """The text of master.cf."""
    return MASTER.format(host=HOST, ports=ports)


MAIN = """\
compatibility_level = 3.7
queue_directory = {directory}/queue
data_directory = {directory}/data
daemon_directory = {root}/usr/lib/postfix/sbin
command_directory = {root}/usr/sbin
shlib_directory = {root}/usr/lib/postfix
meta_directory = {directory}/etc
mail_owner = {owner}
setgid_group = {group}
default_privs = nobody
import_environment = MAIL_CONFIG TZ LANG=C LD_LIBRARY_PATH
maillog_file = {directory}/postfix.log
maillog_file_prefixes = {directory}

inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.{options.domain}
mydomain = {options.domain}
myorigin = {options.domain}
mydestination =
mynetworks =
alias_maps =
local_recipient_maps =

virtual_mailbox_domains = {options.domain}
virtual_mailbox_base = {directory}/mail
users = hash:{directory}/etc/users
virtual_mailbox_maps = $users
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
default_transport = virtual
smtpd_peername_lookup = no
disable_dns_lookups = yes

message_size_limit = {options.message_size_limit}
smtpd_discard_ehlo_keywords = {discard}
local_header_rewrite_clients =
message_drop_headers =
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access hash:{directory}/etc/replies

smtpd_tls_security_level = may
smtpd_tls_cert_file = {options.certificate.certificate}
smtpd_tls_key_file = {options.certificate.key}
smtpd_sasl_type = dovecot
smtpd_sasl_path = {options.auth_socket}
"""

# The delivery agent alone knows a place for mail to other domains: to the servers such
# a recipient is unknown, and only who is logged in may name one.
MASTER = f"""\
{{host}}:{{ports.relay}} inet n - n - - smtpd
{{host}}:{{ports.submission}} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o {{{{ smtpd_client_restrictions = permit_sasl_authenticated, reject }}}}
{{host}}:{{ports.submissions}} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o {{{{ smtpd_client_restrictions = permit_sasl_authenticated, reject }}}}
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
  -o {{{{ virtual_mailbox_maps = $users, static:{ELSEWHERE}/Maildir/ }}}}
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
