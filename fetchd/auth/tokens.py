"""Where tokens are kept: a file each, 0600 in a folder 0700, or the keyring.

A new token is durable before anybody uses it: written beside the old one, fsynced, renamed,
the folder fsynced. Whoever renews holds the token's lock, between processes too, and reads
it again behind the lock: another may have renewed it, and issuers that rotate refresh
tokens take the second use of one for theft (RFC 9700 §4.14.2). The lock is a file of the
folder whichever the store.

All of this blocks, and is called from threads.
"""

import contextlib
import fcntl
import hashlib
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from fetchd.auth.reading import clean, from_credential, from_environment, from_file
from fetchd.auth.sealing import is_sealed, seal, unseal
from fetchd.auth.token import Token, TokenState, state_of
from fetchd.errors import AccountBusy, SecretUnavailable, WrongUser
from fetchd.ownership import refuse_root
from fetchd.settings import Server, Tokens
from fetchd.settings.destination import Place
from fetchd.values import Struct

LOCK_PATIENCE = 120.0  # seconds; whoever renews is done or gives up in less
LOCK_POLL = 0.05
MAX_STORED = 256 * 1024  # octets
_OURS = (".token", ".lock", ".new")  # how the names of our files end
_LONGEST_NAME = 120  # octets of a file's name, of the 255 that file systems have


class TokenStore(Struct, frozen=True):
    """The tokens of these settings, one for each account and destination."""

    settings: Tokens
    key: str = ""

    def __repr__(self) -> str:
        return f"TokenStore({self.settings.store!r})"

    def load(self, owner: Server) -> Token | None:
        """The token, or None where there is none."""
        lack, name = f"{owner.called}: no token", name_of(owner)
        text = self._place(lack).get(name)
        if text is None:
            return None
        if is_sealed(text):
            if not self.key:
                advice = f"Set key_file or its like, or run: {login_command(owner)}"
                sentence = f"{lack}: it is encrypted, and [tokens] has no key"
                raise SecretUnavailable(sentence, advice=advice)
            try:
                text = unseal(text, self.key, name, lack)
            except SecretUnavailable as error:
                error.advice = f"Give the old key back, or run: {login_command(owner)}"
                raise
        try:
            return msgspec.json.decode(text, type=Token)
        except (msgspec.DecodeError, UnicodeError):
            raise SecretUnavailable(
                f"{lack}: what is stored is damaged", advice=f"Run: {login_command(owner)}"
            ) from None

    def save(self, owner: Server, token: Token) -> None:
        """Durable when this returns; hold the lock."""
        lack, name = f"{owner.called}: the token cannot be stored", name_of(owner)
        text = msgspec.json.encode(token).decode()
        self._place(lack).put(name, seal(text, self.key, name) if self.key else text)

    def forget(self, owner: Server) -> bool:
        """Whether there was one."""
        return self._place(f"{owner.called}: the token cannot be removed").remove(name_of(owner))

    @contextmanager
    def locked(self, owner: Server, patience: float = LOCK_PATIENCE) -> Iterator[None]:
        """Nobody else renews this token meanwhile; AccountBusy after `patience` seconds."""
        lack = f"{owner.called}: the token cannot be locked"
        file = self._prepared(lack) / f"{name_of(owner)}.lock"
        with _telling(lack, file):
            lock = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _wait_for(lock, patience, owner.called)
            yield
        finally:
            os.close(lock)  # which unlocks

    def _place(self, lack: str) -> "_Place":
        folder = self._folder
        return _Keyring(folder, lack) if self.settings.store == "keyring" else _Files(folder, lack)

    @property
    def _folder(self) -> Path:
        assert self.settings.folder is not None, "the settings as a whole set it"
        return self.settings.folder

    def _prepared(self, lack: str) -> Path:
        """The folder, made if it is absent, and closed to others if it is ours alone."""
        folder = self._folder
        try:
            refuse_root(folder)
        except WrongUser as error:
            raise SecretUnavailable(f"{lack}: {error}", advice=error.advice) from None
        with _telling(lack, folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = folder.stat().st_mode
            if mode & 0o077 and all(one.name.endswith(_OURS) for one in folder.iterdir()):
                folder.chmod(0o700)
            elif mode & 0o022:  # /tmp, say, which is not ours to close
                raise SecretUnavailable(
                    f"{lack}: others may write to {folder}",
                    advice="Name a folder in [tokens] that holds nothing else.",
                )
        return folder


def store_of(owner: Server, environ: Mapping[str, str]) -> TokenStore:
    """The store of its settings, with the key that they name."""
    tokens = owner.tokens
    lack = f"{owner.called}: no key for the tokens"
    key = ""
    if tokens.key_file is not None:
        key = clean(lack, from_file(lack, tokens.key_file), "key_file")
    elif tokens.key_env is not None:
        key = clean(lack, from_environment(lack, tokens.key_env, environ), "key_env")
    elif tokens.key_credential is not None:
        text = from_credential(lack, tokens.key_credential, environ)
        key = clean(lack, text, "key_credential")
    return TokenStore(tokens, key)


def token_state(owner: Server, environ: Mapping[str, str] | None = None) -> TokenState | None:
    """When its token ends, without secrets; None where there is none. Blocking."""
    found = store_of(owner, os.environ if environ is None else environ).load(owner)
    return None if found is None else state_of(found)


def login_command(owner: Server) -> str:
    """What makes the first token, and a new one."""
    option = " --destination" if isinstance(owner, Place) else ""
    return f"fetchd login {shlex.quote(owner.name)}{option}"


def name_of(owner: Server) -> str:
    """How its token is called where it lies; accounts and destinations may be namesakes."""
    name = quote(owner.name, safe="")
    if len(name) > _LONGEST_NAME:
        name = f"{name[:60]}~{hashlib.sha256(owner.name.encode()).hexdigest()[:32]}"
    return f"{'destination' if isinstance(owner, Place) else 'account'}-{name}"


# -- The two kinds of place -------------------------------------------------------


class _Place(Protocol):
    def get(self, name: str) -> str | None: ...
    def put(self, name: str, text: str) -> None: ...
    def remove(self, name: str) -> bool: ...


class _Files:
    def __init__(self, folder: Path, lack: str) -> None:
        self._folder, self._lack = folder, lack

    def get(self, name: str) -> str | None:
        file = self._file(name)
        with _telling(self._lack, file), contextlib.suppress(FileNotFoundError):
            # Not to wait for ever where somebody put a pipe in its place.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(file, flags)
            with os.fdopen(descriptor, "rb") as opened:
                return opened.read(MAX_STORED).decode("utf-8", "replace")
        return None

    def put(self, name: str, text: str) -> None:
        file, new = self._file(name), self._folder / f"{name}.new"
        with _telling(self._lack, file):
            new.unlink(missing_ok=True)  # of one who died while writing; we hold the lock
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(new, flags, 0o600), "wb") as opened:
                opened.write(text.encode())
                opened.flush()
                os.fsync(opened.fileno())
            new.replace(file)
            _sync(self._folder)

    def remove(self, name: str) -> bool:
        file = self._file(name)
        with _telling(self._lack, file):
            there = file.exists()
            file.unlink(missing_ok=True)
            _sync(self._folder)
        return there

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.token"


class _Keyring:
    """Named by the folder too: two services of one user must not share tokens by accident."""

    def __init__(self, folder: Path, lack: str) -> None:
        self._service, self._lack = f"fetchd {folder}", lack

    def get(self, name: str) -> str | None:
        found: str | None = self._ask("get_password", name)
        return found

    def put(self, name: str, text: str) -> None:
        self._ask("set_password", name, text)

    def remove(self, name: str) -> bool:
        there = self.get(name) is not None
        if there:
            self._ask("delete_password", name)
        return there

    def _ask(self, what: str, *arguments: str) -> Any:
        try:
            keyring = import_module("keyring")  # an extra; slow to import
            errors = import_module("keyring.errors")
        except ImportError:
            raise SecretUnavailable(
                f"{self._lack}: the package keyring is not installed",
                advice="Install it: pip install 'fetchd[keyring]'",
            ) from None
        try:
            return getattr(keyring, what)(self._service, *arguments)
        except errors.KeyringError:
            raise SecretUnavailable(
                f"{self._lack}: the keyring cannot be used",
                advice='Unlock it, or set store = "file" in [tokens].',
            ) from None


def _wait_for(lock: int, patience: float, who: str) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise AccountBusy(
                    f"{who}: another process has held the token for over {patience:g} s",
                    advice="Nothing to do: fetchd tries again by itself.",
                ) from None
        time.sleep(LOCK_POLL)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _telling(lack: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SecretUnavailable(
            f"{lack}: {path} cannot be used: {error.strerror}",
            advice=f"Give fetchd's user the folder {path.parent} and room on its disk.",
        ) from None
