import hashlib
import poplib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fetchd.demo import run, sample
from fetchd.demo.server import PASSWORD, USERNAME, serve, stuffed


def connect(port: int) -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", port, timeout=20)
    client.user(USERNAME)
    client.pass_(PASSWORD)
    return client


def test_sample_is_the_same_every_time_and_never_repeats() -> None:
    first = sample.messages()
    assert first == sample.messages()
    assert len(set(first)) == len(first) == sample.COUNT
    assert all(b"\n" not in message.replace(b"\r\n", b"") for message in first)
    assert any(b"\r\n.\r\n" in message for message in first)


def test_sample_does_not_depend_on_the_process() -> None:
    code = (
        "import hashlib; from fetchd.demo import sample;"
        "print(hashlib.sha256(b''.join(sample.messages())).hexdigest())"
    )
    line = [sys.executable, "-c", code]
    out = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    assert out == hashlib.sha256(b"".join(sample.messages())).hexdigest()


def test_a_strangers_client_reads_every_message() -> None:
    messages = sample.messages(40)
    with serve(messages) as server:
        client = connect(server.port)
        assert {"PIPELINING", "UIDL", "TOP", "USER", "RESP-CODES"} <= set(client.capa())
        assert client.stat() == (40, sum(map(len, messages)))
        assert len(client.list()[1]) == len(client.uidl()[1]) == 40
        for number, message in enumerate(messages, 1):
            lines = client.retr(number)[1]
            assert b"\r\n".join([*lines, b""]) == message.removesuffix(b"\r\n") + b"\r\n"
        head = client.top(1, 2)[1]
        header, _, body = messages[0].partition(b"\r\n\r\n")
        assert head == [*header.split(b"\r\n"), b"", *body.split(b"\r\n")[:2]]
        client.quit()


def test_deletion_is_a_fact_only_after_quit() -> None:
    messages = sample.messages(3)
    with serve(messages) as server:
        client = connect(server.port)
        client.dele(1)
        with pytest.raises(poplib.error_proto):
            client.retr(1)
        client.close()
        assert len(server.messages) == 3
        client = connect(server.port)
        client.dele(1)
        client.rset()
        client.dele(2)
        client.noop()
        client.quit()
        assert server.messages == [messages[0], messages[2]]


def test_wrong_password_and_commands_out_of_state() -> None:
    with serve(()) as server:
        client = poplib.POP3("127.0.0.1", server.port, timeout=20)
        with pytest.raises(poplib.error_proto):
            client.stat()
        client.user(USERNAME)
        with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
            client.pass_("wrong")
        client.quit()


def test_pipelined_commands_are_answered_in_order() -> None:
    messages = sample.messages(5)
    with serve(messages) as server, socket.create_connection(("127.0.0.1", server.port)) as line:
        line.settimeout(20)
        login = f"USER {USERNAME}\r\nPASS {PASSWORD}\r\n".encode()
        line.sendall(login + b"RETR 1\r\nRETR 9\r\nRETR 2\r\nQUIT\r\n")
        with line.makefile("rb") as answers:
            got = answers.read()
    one, two = (b"+OK %d octets\r\n" % len(m) + stuffed(m) for m in messages[:2])
    assert got.endswith(one + b"-ERR no such message\r\n" + two + b"+OK bye\r\n")


def test_a_folder_that_is_not_a_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    assert run.main([str(tmp_path)]) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_a_failing_step_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.sys, "executable", "/bin/false")
    assert run.main([str(tmp_path / "demo")]) == 1


def test_the_folder_is_made_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "demo"
    monkeypatch.setattr(run.sys, "executable", "/bin/false")
    run.main([str(folder)])
    (folder / "old").touch()
    run.main([str(folder)])
    assert not (folder / "old").exists()
    assert (folder / "fetchd.toml").stat().st_mode & 0o777 == 0o600


def test_an_empty_maildir_is_not_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.sys, "executable", "/bin/true")
    assert run.main([str(tmp_path / "demo")]) == 1


def test_the_listing_compares_octets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = sample.messages(10)
    new = tmp_path / "new"
    new.mkdir()
    for number, message in enumerate(messages):
        text = message.replace(b"\r\n", b"\n")
        (new / str(number)).write_bytes(text.removesuffix(b"\n") + b"\n")
    assert run._listing(tmp_path, messages) == 0
    (new / "3").write_bytes(b"something else")
    assert run._listing(tmp_path, messages) == 1
    assert "1 messages are missing, 1 are not the server's" in capsys.readouterr().err
