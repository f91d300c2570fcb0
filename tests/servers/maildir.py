"""Maildir files written and changed behind a server's back, fast.

Names count upwards (`1600000042.M0P0.test,S=…,W=…:2,`), because Dovecot numbers
new messages by the time at the head of the name. `S` and `W` are the sizes with
LF and with CRLF: with them a server need not read a file to list it.
A name is never used twice in one Maildir, since a server remembers names.
The file's mtime is the internal date; flags are letters at the end of the name,
and keywords letters too, explained in `dovecot-keywords`.
"""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.servers.mail import Mail, mails

PARTS = ("cur", "new", "tmp")
FIRST_NUMBER = 1_600_000_000
COUNTER = "next-number"  # Dovecot ignores files it does not know
KEYWORDS = "dovecot-keywords"
FLAGS = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}


def append(
    maildir: Path, messages: Iterable[bytes | Mail], *, newline: str, part: str, uid: int | None
) -> int:
    """Write each message to a file of its own; return how many."""
    if newline not in ("lf", "exact"):
        raise ValueError(f"newline is 'lf' or 'exact', not {newline!r}")
    first = number = _next_number(maildir)
    keywords = known = _keywords(maildir)
    folder = str(maildir / part)
    for mail in mails(messages):
        octets = with_lf(mail.octets) if newline == "lf" else mail.octets
        wire = len(octets) + octets.count(b"\n") - octets.count(b"\r\n")
        keywords = _with_new(keywords, mail.flags)
        info = f":2,{_letters(mail.flags, keywords)}" if part == "cur" else ""
        path = f"{folder}/{number}.M0P0.test,S={len(octets)},W={wire}{info}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            write_all(fd, octets)
            if mail.date is not None:
                os.utime(fd, (mail.date.timestamp(),) * 2)
            if uid is not None:
                os.fchown(fd, uid, uid)
        finally:
            os.close(fd)
        number += 1
    _set_next_number(maildir, number)
    if keywords != known:
        _set_keywords(maildir, keywords, uid)
    return number - first


def remove(maildir: Path, numbers: set[int] | None) -> None:
    """Unlink messages by their place in the order, counted from 1; all when None."""
    for place, path in enumerate(messages(maildir), 1):
        if numbers is None or place in numbers:
            path.unlink()


def renumber(maildir: Path, *, uid: int | None) -> None:
    """New names, new UIDs, new UIDVALIDITY: nothing by which a message was known is left."""
    number = _next_number(maildir)
    for path in messages(maildir):
        rest = path.name.partition(".")[2]
        path.rename(path.with_name(f"{number}.{rest}"))
        number += 1
    _set_next_number(maildir, number)
    validity = _uidvalidity(maildir) + 1000
    for path in maildir.glob("dovecot*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    uidlist = maildir / "dovecot-uidlist"
    uidlist.write_text(f"3 V{validity} N1 G{validity:032x}\n")
    if uid is not None:
        os.chown(uidlist, uid, uid)


def messages(maildir: Path) -> list[Path]:
    """The message files of new and cur in the order of their numbers."""
    paths = [path for part in ("cur", "new") for path in (maildir / part).iterdir()]
    return sorted(paths, key=lambda path: int(path.name.partition(".")[0]))


def with_lf(message: bytes) -> bytes:
    """LF for CRLF, unless a CR before a CRLF would then be taken for a part of one."""
    return message if b"\r\r\n" in message else message.replace(b"\r\n", b"\n")


def write_all(fd: int, octets: bytes) -> None:
    """Write all octets: one call may take only a part."""
    view = memoryview(octets)
    while view:
        view = view[os.write(fd, view) :]


def _uidvalidity(maildir: Path) -> int:
    uidlist = maildir / "dovecot-uidlist"
    if not uidlist.exists():
        return FIRST_NUMBER
    match = re.search(r"^3 V(\d+)", uidlist.read_text())
    return int(match[1]) if match else FIRST_NUMBER


def _next_number(maildir: Path) -> int:
    counter = maildir.parent / COUNTER
    return int(counter.read_text()) if counter.exists() else FIRST_NUMBER


def _set_next_number(maildir: Path, number: int) -> None:
    (maildir.parent / COUNTER).write_text(str(number))


def _letters(flags: tuple[str, ...], keywords: tuple[str, ...]) -> str:
    """The info suffix's letters, in the order that Maildir wants."""
    letters = (FLAGS.get(flag) or chr(ord("a") + keywords.index(flag)) for flag in flags)
    return "".join(sorted(letters))


def _with_new(keywords: tuple[str, ...], flags: tuple[str, ...]) -> tuple[str, ...]:
    return keywords + tuple(f for f in flags if f not in FLAGS and f not in keywords)


def _keywords(maildir: Path) -> tuple[str, ...]:
    path = maildir / KEYWORDS
    lines = path.read_text().splitlines() if path.exists() else []
    return tuple(line.partition(" ")[2] for line in lines)


def _set_keywords(maildir: Path, keywords: tuple[str, ...], uid: int | None) -> None:
    path = maildir / KEYWORDS
    path.write_text("".join(f"{at} {word}\n" for at, word in enumerate(keywords)))
    if uid is not None:
        os.chown(path, uid, uid)
