"""What Maildirs hold on the disk, and a machine that stops at any step on the way there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fetchd.destinations import durable

STEPS = ("mkdir", "open", "write", "utime", "fsync", "rename")


def tree(path: Path) -> dict[str, list[str]]:
    """The names in every folder that holds a message, by the folder's path."""
    found: dict[str, list[str]] = {}
    for file in sorted(path.glob("**/*")):
        if file.is_file() and file.name != "maildirfolder":
            found.setdefault(str(file.parent.relative_to(path)), []).append(file.name)
    return found


class Crash(BaseException):
    """The machine stops here."""


def crashing(monkeypatch: pytest.MonkeyPatch, at: int) -> list[str]:
    """Stop at the at-th step; the steps that were taken."""
    taken: list[str] = []

    def step(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **keywords: Any) -> Any:
            if len(taken) == at:
                raise Crash
            done = real(*args, **keywords)
            taken.append(name)
            return done

        return run

    for name in STEPS:
        monkeypatch.setattr(os, name, step(name, getattr(os, name)))
    monkeypatch.setattr(durable, "syncfs", step("syncfs", durable.syncfs))
    return taken
