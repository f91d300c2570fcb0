"""[[routes]]: which messages go where; `policy.routing` decides by them.

A pattern may stand for a list of one. An empty list is refused: a condition without
patterns would always hold, and whoever wrote it means that it never does.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from fetchd.policy.routing import Action, Route
from fetchd.settings.values import NOT_EMPTY, Size, Table, Text, folder_template


def _patterns(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _field_name(text: str) -> str:
    if not re.fullmatch(r"[!-9;-~]+", text):  # RFC 5322 §2.2
        raise ValueError('the name of a header field, such as "X-Spam-Flag"')
    return text


def _distinct(header: dict[str, object]) -> dict[str, object]:
    if len({name.lower() for name in header}) < len(header):
        raise ValueError("each field once, whatever its case")
    return header


def _keyword(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9$_.:-]+", text):
        raise ValueError("a keyword made of letters, digits and $ _ . : -")
    return text


Patterns = Annotated[tuple[Text, ...], NOT_EMPTY, BeforeValidator(_patterns)]
FieldName = Annotated[str, AfterValidator(_field_name)]


class RouteTable(Table):
    """One route: conditions, all of which must hold, and what is done then."""

    name: Text | None = None
    account: Patterns = ()
    mailbox: Patterns = ()
    sender: Patterns = ()
    recipient: Patterns = ()
    subject: Patterns = ()
    list_id: Patterns = ()
    header: Annotated[dict[FieldName, Patterns], AfterValidator(_distinct)] = Field(
        default_factory=dict
    )
    larger: Size | None = None
    smaller: Size | None = None
    duplicate: bool | None = None
    action: Action = Action.DELIVER
    deliver_to: tuple[str, ...] = ()
    folder: Annotated[Text, AfterValidator(folder_template)] | None = None
    label: Annotated[str, AfterValidator(_keyword)] | None = None
    go_on: bool = False

    def route(self, position: int) -> Route:
        """What the pure rules make of it; `position` names it where it has no name."""
        return Route(
            name=self.name or f"route {position}",
            action=self.action,
            deliver_to=self.deliver_to,
            folder=self.folder or "",
            label=self.label or "",
            go_on=self.go_on,
            account=self.account,
            mailbox=self.mailbox,
            sender=self.sender,
            recipient=self.recipient,
            subject=self.subject,
            list_id=self.list_id,
            header={name.lower(): patterns for name, patterns in self.header.items()},
            larger=self.larger,
            smaller=self.smaller,
            duplicate=self.duplicate,
        )
