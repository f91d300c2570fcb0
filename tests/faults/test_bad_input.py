"""Whatever is wrong outside: one message with the remedy, the right exit code, nothing lost."""

import re
import socket
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests import corpus
from tests.faults.command import Command
from tests.servers.certificates import Authority
from tests.servers.dovecot import free_ports
from tests.servers.scripted_pop3 import HANG_UP, SILENCE, Endless, ScriptedPop3, server_context

MAIL = corpus.small(3, size=400)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


# -- The server ------------------------------------------------------------------------

Served = Callable[[], AbstractContextManager[ScriptedPop3]]


def scripted(**faults: object) -> Served:
    return lambda: ScriptedPop3(MAIL, **faults)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (scripted(answers={"greeting": SILENCE}), "did not give a greeting within 1 s"),
        (scripted(answers={"greeting": b"HTTP/1.1 400 Bad\r\n" * 9}), "not a POP3"),
        (scripted(answers={"greeting": b"\x15\x03\x01\x00\x02\r\n" * 40}), "POP3"),
        (scripted(answers={"greeting": Endless(b"x" * 4096)}), "endless line"),
        (scripted(answers={"greeting": HANG_UP}), "hung up"),
        (scripted(answers={"PASS": b"-ERR [AUTH] wrong password\r\n"}), "refuses the login"),
        (scripted(answers={"PASS": b"-ERR [IN-USE] locked by another session\r\n"}), "IN-USE"),
        (scripted(answers={"STAT": SILENCE}), "within 1 s"),
        (scripted(answers={"UIDL": [b"+OK\r\n", Endless(b"1 a\r\n" * 9999)]}), "endless listing"),
        (scripted(answers={"UIDL": b"gibberish\r\n"}), "not a POP3 reply"),
        (scripted(answers={"LIST": HANG_UP}), "hung up"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_used(tmp_path: Path, served: Served, words: str) -> None:
    with served() as server:
        fetchd = Command(tmp_path, server.port)
        fetchd.write()
        said = fetchd("sync")
        assert said.code == 1
        assert words in said.words
        one_complaint(said.words)
    (account,) = fetchd.json("status")["accounts"]
    assert words in account["last_error"]
    assert account["advice"]
    with ScriptedPop3(MAIL) as healed:
        fetchd.account["port"] = healed.port
        fetchd.write()
        assert fetchd("sync").code == 0
        assert len(list(fetchd.maildir.glob("new/*"))) == len(MAIL)


def test_a_body_of_ten_gigabytes_is_bounded_and_does_not_keep_the_others(tmp_path: Path) -> None:
    announced = {
        "LIST": b"+OK\r\n1 400\r\n2 10737418240\r\n3 400\r\n.\r\n",
        "RETR 2": [b"+OK 10737418240 octets\r\n", Endless(b"endless line of text\r\n" * 4000)],
    }
    with ScriptedPop3(MAIL, answers=announced) as server:  # type: ignore[arg-type]
        fetchd = Command(tmp_path, server.port, max_message_size="20MB")
        fetchd.write()
        said = fetchd("sync")
        assert said.code == 0, said.words
        assert "max_message_size" in said.words
        assert len(list(fetchd.maildir.glob("new/*"))) == 2
        assert "RETR 2" not in server.heard


def test_a_message_that_ends_the_connection_is_set_aside(tmp_path: Path) -> None:
    with ScriptedPop3(MAIL, answers={"RETR 2": [b"+OK\r\nSubject: x\r\n", HANG_UP]}) as server:
        fetchd = Command(tmp_path, server.port)
        fetchd.write()
        said = fetchd("sync")
        assert said.code == 1
        assert "1 would not come" in said.words
        assert len(list(fetchd.maildir.glob("new/*"))) == 2
        assert "uid-2" in fetchd("plan").words
        server.answers.clear()
        assert fetchd("sync").code == 0
    assert len(list(fetchd.maildir.glob("new/*"))) == 3


def test_a_message_that_is_refused_is_set_aside(tmp_path: Path) -> None:
    with ScriptedPop3(MAIL, answers={"RETR 1": b"-ERR cannot read it\r\n"}) as server:
        fetchd = Command(tmp_path, server.port, leave_on_server="none")
        fetchd.write()
        said = fetchd("sync")
        assert said.code == 1
        assert len(server.messages) == 1  # the others are home, and gone
        assert "cannot read it" in fetchd("plan").words
        server.answers.clear()
        assert fetchd("sync").code == 0
        assert fetchd("sync").code == 0
        assert server.messages == []


# -- The way there ---------------------------------------------------------------------


def test_nobody_listens(tmp_path: Path) -> None:
    fetchd = Command(tmp_path, free_ports(1)[0])
    fetchd.write()
    said = fetchd("sync")
    assert said.code == 1
    assert "refused the connection" in said.words
    assert "Check host and port" in said.words


def test_no_such_host(tmp_path: Path) -> None:
    fetchd = Command(tmp_path, 110, host="pop.no-such-host.invalid")
    fetchd.write()
    said = fetchd("sync")
    assert said.code == 1
    assert "pop.no-such-host.invalid was not found" in said.words


def test_a_server_that_accepts_and_is_mute(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fetchd = Command(tmp_path, listener.getsockname()[1], tls="implicit")
        fetchd.write()
        said = fetchd("sync")
    assert said.code == 1
    assert "did not give the TLS handshake" in said.words


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("issue_expired", "has expired"),
        ("issue_self_signed", "is self-signed"),
        ("issue_for", "is for another host name"),
    ],
)
def test_a_certificate_not_to_trust(
    tmp_path: Path, authority: Authority, kind: str, words: str
) -> None:
    issue = getattr(authority, kind)
    certificate = issue("elsewhere.example") if kind == "issue_for" else issue()
    with ScriptedPop3(MAIL, tls=server_context(certificate)) as server:
        fetchd = Command(
            tmp_path, server.port, tls="implicit", host="localhost",
            ca_file=str(authority.ca_file),
        )  # fmt: skip
        fetchd.write()
        said = fetchd("sync")
        assert said.code == 1
        assert words in said.words
        assert server.verbs() == []  # not a word, least of all a password
        fetchd.account["fingerprint"] = certificate.fingerprint
        fetchd.write()
        assert fetchd("sync").code == 0


# -- Here ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[accounts.work\n", "fetchd.toml:1"),
        ("[accounts.work]\nprotocol = 'pop4'\n", '"pop3"'),
        ("datadir = '/x'\n", 'did you mean "data_dir"'),
        ("\xff\xfe", "UTF-8"),
    ],
)
def test_broken_settings(tmp_path: Path, text: str, words: str) -> None:
    fetchd = Command(tmp_path, 110)
    fetchd.write("")
    fetchd.file.write_bytes(text.encode("latin-1"))
    for command in ("sync", "check", "status", "plan"):
        said = fetchd(command)
        assert said.code == 2
        assert words in said.err
    assert list(tmp_path.iterdir()) == [fetchd.file]


def test_settings_that_others_may_read(tmp_path: Path) -> None:
    fetchd = Command(tmp_path, 110)
    fetchd.write()
    fetchd.file.chmod(0o644)
    said = fetchd("sync")
    assert said.code == 2
    assert f"chmod 600 {fetchd.file}" in said.err


def test_a_password_in_clear_needs_consent(tmp_path: Path) -> None:
    fetchd = Command(tmp_path, 110, allow_plaintext_auth=False)
    fetchd.write()
    said = fetchd("sync")
    assert said.code == 2
    assert "allow_plaintext_auth = true is needed" in said.err


def test_a_catalog_from_a_later_version(tmp_path: Path) -> None:
    with ScriptedPop3(MAIL) as server:
        fetchd = Command(tmp_path, server.port)
        fetchd.write()
        assert fetchd("sync").code == 0
        catalog = fetchd.data / "catalog.sqlite"
        with sqlite3.connect(catalog) as db:
            db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.close()
        for command in ("sync", "status", "verify"):
            said = fetchd(command)
            assert said.code == 1
            assert "has version 9999" in said.err
            assert "Install the fetchd that wrote it" in said.err


def test_a_damaged_catalog_is_rebuilt_from_the_archive(tmp_path: Path) -> None:
    with ScriptedPop3(MAIL) as server:
        fetchd = Command(tmp_path, server.port)
        fetchd.write()
        assert fetchd("sync").code == 0
        catalog = fetchd.data / "catalog.sqlite"
        catalog.write_bytes(b"not a database, not at all" * 999)
        said = fetchd("sync")
        assert said.code == 1
        assert "fetchd rebuild" in said.err
        assert fetchd("rebuild").code == 0
        retrieved = server.verbs().count("RETR")
        assert fetchd("sync").code == 0
        assert server.verbs().count("RETR") == retrieved
    assert len(list(fetchd.maildir.glob("new/*"))) == len(MAIL)


def test_a_damaged_segment_is_named(tmp_path: Path) -> None:
    with ScriptedPop3(MAIL) as server:
        fetchd = Command(tmp_path, server.port)
        fetchd.write()
        fetchd("sync")
        (segment,) = fetchd.data.glob("archive/*/*/*.tar.zst")
        octets = bytearray(segment.read_bytes())
        octets[60:70] = b"spoilt oct"
        segment.write_bytes(octets)
        said = fetchd("verify")
        assert said.code == 1
        assert re.search(r"damaged", said.words)
        assert fetchd("sync").code == 0
        assert fetchd("verify").code == 0


def read_only_folder(fetchd: Command) -> None:
    fetchd.data.mkdir(mode=0o500)


def data_in_the_way(fetchd: Command) -> None:
    fetchd.data.write_text("a file where a folder should be")


def no_parent(fetchd: Command) -> None:
    (fetchd.folder / "data").symlink_to("/proc/no-such-place")


@pytest.mark.parametrize("trouble", [read_only_folder, data_in_the_way, no_parent])
def test_a_data_folder_that_cannot_be_written(
    tmp_path: Path, trouble: Callable[[Command], None]
) -> None:
    with ScriptedPop3(MAIL) as server:
        fetchd = Command(tmp_path, server.port, leave_on_server="none")
        trouble(fetchd)
        fetchd.write()
        said = fetchd("sync", powerless=True)
        assert said.code == 1, said.words
        assert str(fetchd.data) in said.err
        one_complaint(said.err)
        assert len(server.messages) == len(MAIL)


def one_complaint(words: str) -> None:
    """Not the same sentence over and over."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    assert len(lines) <= 12, words
