"""A home with an IMAP account and a mirror, and what it believes beside what the server says.

The server's word is read by an independent client (tests/servers/other_client.py), the
mirror by reading its files, the catalog by SQL: nothing here asks the code under test.
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path

from fetchd.destinations.mirror_names import account_folder, mailbox_folder
from tests.pipeline.home import Home
from tests.servers.mail import Contents, digest

Believed = dict[str, dict[int, tuple[str, frozenset[str]]]]  # mailbox -> UID -> digest, flags

_PRESENT = """
SELECT b.name, r.uid, r.digest, r.flags FROM remote_message r JOIN mailbox b ON b.id = r.mailbox_id
WHERE r.state IN ('stored', 'retiring') AND b.account = ?"""
_LETTERS = {
    "\\Draft": "D", "\\Flagged": "F", "$Forwarded": "P", "\\Answered": "R", "\\Seen": "S",
    "\\Deleted": "T",
}  # fmt: skip


class ImapHome(Home):
    """One user with one IMAP account, mirrored."""

    def __init__(self, folder: Path, port: int, user: str, **account: object) -> None:
        super().__init__(folder, port, user, **{"protocol": "imap", **account})
        self.destination = {"layout": "mirror", "removed": "remove"}

    @property
    def user(self) -> str:
        return self.users[0]

    def believed(self) -> Believed:
        """What the catalog says is on the server."""
        found: Believed = {}
        with closing(sqlite3.connect(self.data / "catalog.sqlite")) as db:
            for name, uid, octets, flags in db.execute(_PRESENT, (self.user,)):
                number = int(uid.rpartition(b".")[2])
                found.setdefault(name, {})[number] = (octets.hex(), frozenset(flags.split()))
        return found

    def mirrored(self, mailbox: str) -> Counter[tuple[str, str]]:
        """Digest and letters of each file in the mirror of a mailbox."""
        folder = self.maildir / account_folder(self.user) / mailbox_folder(mailbox)
        found: Counter[tuple[str, str]] = Counter()
        for part in ("new", "cur"):
            for file in (folder / part).iterdir() if (folder / part).is_dir() else ():
                letters = file.name.partition(":2,")[2]
                found[digest(file.read_bytes()), letters] += 1
        return found

    def agrees_with(self, served: Contents, but: Collection[str] = ()) -> None:
        """Assert that catalog and archive are what the server has, in all mailboxes but these."""
        expected = {
            ours(name): {uid: (one.digest, one.flags) for uid, one in messages.items()}
            for name, messages in served.items()
            if messages
        }
        believed = {name: box for name, box in self.believed().items() if name not in but}
        assert believed.keys() == expected.keys(), believed.keys() ^ expected.keys()
        for name, box in expected.items():
            assert believed[name] == box, name
        assert {one.digest for box in served.values() for one in box.values()} <= set(
            self.archived()
        )

    def mirrors(self, served: Contents, as_files: Mapping[str, str]) -> None:
        """Assert that the mirror is faithful; `as_files`: digest as served -> of its LF form."""
        for name, messages in served.items():
            expected = Counter(
                (as_files[one.digest], letters(one.flags)) for one in messages.values()
            )
            found = self.mirrored(ours(name))
            assert found == expected, (name, found - expected, expected - found)


def letters(flags: frozenset[str]) -> str:
    """The letters of Maildir for these flags."""
    return "".join(sorted(letter for flag, letter in _LETTERS.items() if flag in flags))


def ours(name: str) -> str:
    """A mailbox of a server whose delimiter is "/", as fetchd writes it."""
    return re.sub("%(?=2F|25|!)", "%25", name)
