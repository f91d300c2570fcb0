"""The configuration that a private Dovecot runs with.

Everything lies below one directory. Login processes are not chrooted and a
refused login costs no delay, since tests refuse many. Limits are set so that
hundreds of connections fit. Dovecot's own durability (mail_fsync) is left alone:
the server must cost what a server costs.
"""

import getpass
import grp
import os
from dataclasses import dataclass
from pathlib import Path

from tests.servers.certificates import Certificate
from tests.servers.processes import HOST, MAIL_UID

MECHANISMS = ("plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256")
FAR_HOST = "127.0.0.2"  # Dovecot calls a line plaintext only if its two ends differ

# What 2.3 says by itself after the login, as test_dovecot.py checks: `imap_capability`
# can add words to the list, but take one away only by giving all the others.
CAPABILITIES = (
    "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES"
    " THREAD=REFS THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN"
    " NAMESPACE UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES"
    " WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE SNIPPET=FUZZY PREVIEW=FUZZY PREVIEW"
    " STATUS=SIZE SAVEDATE LITERAL+ NOTIFY SPECIAL-USE COMPRESS=DEFLATE"
)
ROLES = {
    "Drafts": "\\Drafts", "Sent": "\\Sent", "Trash": "\\Trash", "Junk": "\\Junk",
    "Archive": "\\Archive",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the services listen."""

    pop3: int
    pop3s: int
    imap: int
    imaps: int
    lmtp: int


@dataclass(frozen=True, slots=True)
class Options:
    """What a test may choose; `Dovecot` has the defaults and says what each means."""

    uidl_format: str
    mechanisms: str
    certificate: Certificate
    plaintext_auth: bool
    sessions_per_process: int
    idle_processes: int
    connections_per_user: int
    separator: str
    prefix: str
    hide: frozenset[str]
    odd_names: bool
    extra: str


def configuration(directory: Path, ports: Ports, options: Options) -> str:
    """The text of dovecot.conf."""
    root = os.geteuid() == 0
    return TEMPLATE.format(
        directory=directory,
        identity="" if root else own_identity(),
        uid=MAIL_UID if root else os.geteuid(),
        gid=MAIL_UID if root else os.getegid(),
        hosts=f"{HOST}, {FAR_HOST}",
        ports=ports,
        options=options,
        disable_plaintext="no" if options.plaintext_auth else "yes",
        # With listescape a name may hold the Maildir's own separator, "." and "..".
        plugins="listescape" if options.odd_names else "",
        roles="\n".join(ROLE.format(name=name, role=role) for name, role in ROLES.items()),
        capability=visible(options.hide),
    )


def visible(hidden: frozenset[str]) -> str:
    """The line that hides capabilities: only the words, the commands still work."""
    known = CAPABILITIES.split()
    if unknown := hidden - set(known):
        raise ValueError(f"Dovecot has no {', '.join(sorted(unknown))} to hide")
    shown = " ".join(word for word in known if word not in hidden)
    return f"imap_capability = {shown}" if hidden else ""


def own_identity() -> str:
    """An ordinary user cannot switch to Dovecot's own users: be all of them."""
    user, group = getpass.getuser(), grp.getgrgid(os.getegid()).gr_name
    return (
        f"default_internal_user = {user}\n"
        f"default_internal_group = {group}\n"
        f"default_login_user = {user}\n"
    )


ROLE = """\
  mailbox {name} {{
    special_use = {role}
  }}"""

TEMPLATE = """\
protocols = pop3 imap lmtp
listen = {hosts}
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
{identity}
first_valid_uid = 1
last_valid_uid = 0
first_valid_gid = 1
default_client_limit = 4000
default_process_limit = 1000

ssl = yes
ssl_cert = <{options.certificate.certificate}
ssl_key = <{options.certificate.key}
disable_plaintext_auth = {disable_plaintext}
auth_mechanisms = {options.mechanisms}
auth_failure_delay = 0
auth_verbose = yes

passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/users/%u
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {directory}/users/%u
  override_fields = uid={uid} gid={gid} home={directory}/mail/%u
}}
mail_location = maildir:~/Maildir
mail_max_userip_connections = {options.connections_per_user}
mail_plugins = {plugins}

namespace inbox {{
  inbox = yes
  separator = {options.separator}
  prefix = {options.prefix}
{roles}
}}

protocol lmtp {{
  mail_plugins = $mail_plugins quota
}}
plugin {{
  quota = count:full
  quota_vsizes = yes
}}
protocol pop3 {{
  pop3_uidl_format = {options.uidl_format}
  # Marking each message as seen would rename its file: a cost of the server's, not of POP3.
  pop3_no_flag_updates = yes
}}
protocol imap {{
  mail_plugins = $mail_plugins imap_zlib
  {capability}
}}

service anvil {{
  chroot =
  client_limit = 8000
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = 8000
  unix_listener {directory}/auth {{
    mode = 0666
  }}
}}
service stats {{
  chroot =
  client_limit = 8000
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
service pop3-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener pop3 {{
    port = {ports.pop3}
  }}
  inet_listener pop3s {{
    port = {ports.pop3s}
    ssl = yes
  }}
}}
service imap-login {{
  chroot =
  service_count = 0
  inet_listener imap {{
    port = {ports.imap}
  }}
  inet_listener imaps {{
    port = {ports.imaps}
    ssl = yes
  }}
}}
service pop3 {{
  service_count = {options.sessions_per_process}
  process_min_avail = {options.idle_processes}
}}
service imap {{
  service_count = {options.sessions_per_process}
  process_min_avail = {options.idle_processes}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {ports.lmtp}
  }}
  unix_listener {directory}/lmtp {{
    mode = 0666
  }}
}}
service ipc {{
  chroot =
}}
{options.extra}
"""
