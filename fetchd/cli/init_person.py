"""Asking a person: again after a bad answer, not at all where `--yes` or an option answers.

Prompts go to standard error where standard output is for a program. A secret is read
without an echo. Ctrl-C ends everything; a question that finds no more input says which
option would have answered it.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import typer

from fetchd.cli import output
from fetchd.errors import UsageError

T = TypeVar("T")
Reading = Callable[[str], T]  # ValueError: what is allowed instead


@dataclass(slots=True)
class Person:
    """Who answers. `yes`: nobody is asked, defaults hold. `aside`: speak on standard error."""

    yes: bool = False
    aside: bool = False

    def tell(self, line: str = "") -> None:
        """One line."""
        (output.complain if self.aside else output.say)(line)

    def ask(self, question: str, option: str, reading: "Reading[T]", default: str = "") -> T:
        """An answer that `reading` understands."""
        if self.yes:
            return self._unasked(question, option, reading, default)

        def understood(text: str) -> T:
            try:
                return reading(text.strip())
            except ValueError as error:
                raise typer.BadParameter(f"expected {error}") from None

        def prompt() -> T:
            answer: T = typer.prompt(
                question, default=default or None, value_proc=understood, err=self.aside
            )
            return answer

        return self._prompted(option, prompt)

    def choose(self, question: str, option: str, choices: Sequence[str], default: int = 0) -> int:
        """The position of one of these lines."""
        if self.yes or len(choices) < 2:
            return default
        for number, line in enumerate(choices, 1):
            self.tell(f"  {number}  {line}")

        def position(text: str) -> int:
            if not text.isdecimal() or not 1 <= int(text) <= len(choices):
                raise ValueError(f"a number from 1 to {len(choices)}")
            return int(text) - 1

        return self.ask(question, option, position, str(default + 1))

    def agrees(self, question: str, option: str, *, default: bool = True) -> bool:
        """Yes or no; `--yes` is yes."""
        if self.yes:
            return True
        return bool(
            self._prompted(option, lambda: typer.confirm(question, default=default, err=self.aside))
        )

    def secret(self, question: str, option: str) -> str:
        """What nobody should see; not empty, and on one line."""
        if self.yes:
            raise UsageError(f"{question}: nobody may be asked", advice=f"Give {option}.")
        while True:
            text = self._prompted(
                option, lambda: typer.prompt(question, hide_input=True, err=self.aside)
            )
            if text and not set(text) & {"\r", "\n", "\0"}:
                return str(text)

    def _unasked(self, question: str, option: str, reading: "Reading[T]", default: str) -> T:
        if not default:
            raise UsageError(f"{question}: nobody may be asked", advice=f"Give {option}.")
        try:
            return reading(default)
        except ValueError as error:
            raise UsageError(
                f"{question}: '{default}' will not do, expected {error}", advice=f"Give {option}."
            ) from None

    def _prompted(self, option: str, prompt: Callable[[], T]) -> T:
        try:
            return prompt()
        except typer.Abort:
            if sys.stdin is not None and sys.stdin.isatty():
                raise KeyboardInterrupt from None
            raise UsageError(
                "standard input has no more answers", advice=f"Give {option}, or use a terminal."
            ) from None
