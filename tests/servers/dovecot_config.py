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

MAIL_UID = 65534  # "nobody": Dovecot never serves mail as root
MECHANISMS = ("plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256")


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
    extra: str


def configuration(directory: Path, ports: Ports, options: Options) -> str:
    """The text of dovecot.conf."""
    root = os.geteuid() == 0
    return TEMPLATE.format(
        directory=directory,
        identity="" if root else own_identity(),
        uid=MAIL_UID if root else os.geteuid(),
        gid=MAIL_UID if root else os.getegid(),
        ports=ports,
        options=options,
        disable_plaintext="no" if options.plaintext_auth else "yes",
    )


def own_identity() -> str:
    """An ordinary user cannot switch to Dovecot's own users: be all of them."""
    user, group = getpass.getuser(), grp.getgrgid(os.getegid()).gr_name
    return (
        f"default_internal_user = {user}\n"
        f"default_internal_group = {group}\n"
        f"default_login_user = {user}\n"
    )


TEMPLATE = """\
protocols = pop3 imap lmtp
listen = 127.0.0.1
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
  driver = static
  args = uid={uid} gid={gid} home={directory}/mail/%u
}}
mail_location = maildir:~/Maildir
mail_max_userip_connections = 1000

protocol pop3 {{
  pop3_uidl_format = {options.uidl_format}
  # Marking each message as seen would rename its file: a cost of the server's, not of POP3.
  pop3_no_flag_updates = yes
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
service lmtp {{
  inet_listener lmtp {{
    port = {ports.lmtp}
  }}
}}
service ipc {{
  chroot =
}}
{options.extra}
"""
