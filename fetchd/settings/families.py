"""Tables that one of their keys tells apart, and which of them knows which key.

For whoever names a mistake: a key that another protocol has, or another kind, is said to
be theirs.
"""

from collections.abc import KeysView, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fetchd.settings.account import PROTOCOLS, Pop3Account, Pop3WindowTable, WindowTable
from fetchd.settings.destination import KINDS
from fetchd.settings.environment import table_of
from fetchd.values import Struct

Path = tuple[str, ...]
# Where policy's own type hides which table is read for it.
_NARROWER: dict[tuple[type[BaseModel], type[BaseModel]], type[BaseModel]] = {
    (Pop3Account, WindowTable): Pop3WindowTable,
}


class Family(Struct, frozen=True):
    """The members by what `tag` says of them; paths begin below their NAME."""

    tag: str
    members: Mapping[str, type[BaseModel]]

    def knowing(self, path: Path, key: str) -> list[str]:
        """Those whose table at `path` has that key."""
        return [name for name, member in self.members.items() if key in _fields(member, path)]

    def choosing(self, path: Path, found: object) -> list[str]:
        """Those for whose key at `path` what was found is one of the choices."""
        fields = {name: _fields(member, path[:-1]) for name, member in self.members.items()}
        return [
            name
            for name, known in fields.items()
            if path[-1] in known and found in get_args(known[path[-1]].annotation)
        ]

    def keys(self, path: Path, table: Mapping[str, Any]) -> KeysView[str] | None:
        """What may stand at `path` in this table; None where nobody knows which it is."""
        named = table.get(self.tag)
        member = self.members.get(named) if isinstance(named, str) else None
        return _fields(member, path).keys() if member is not None else None


FAMILIES = {
    "accounts": Family("protocol", PROTOCOLS),
    "destinations": Family("kind", KINDS),
}


def family_at(path: Path) -> Family | None:
    """The family that the table with this key belongs to."""
    return FAMILIES.get(path[0]) if len(path) > 2 else None


def _fields(member: type[BaseModel], path: Path) -> dict[str, FieldInfo]:
    table = member
    for part in path:
        field = table.model_fields.get(part)
        below, _ = table_of(field.annotation) if field else (None, None)
        if below is None:
            return {}
        table = _NARROWER.get((member, below), below)
    return table.model_fields
