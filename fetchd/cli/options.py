"""Options that several commands share.

`--config` may stand before the command's name or behind it; the one nearest to
the end counts. Commands read it from `context.obj`.
"""

from pathlib import Path
from typing import Annotated

import typer


def _remember(context: typer.Context, config: Path | None) -> Path | None:
    context.obj = config or context.obj
    return config


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The settings file.", show_default=False, callback=_remember
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document (docs/json.md).")]
Accounts = Annotated[
    list[str] | None, typer.Argument(metavar="[ACCOUNT]...", help="All accounts when left out.")
]
OfAccount = Annotated[str, typer.Option("--account", metavar="ACCOUNT", help="Of this account.")]
Since = Annotated[
    str, typer.Option("--since", metavar="WHEN", help="2026-11-01, yesterday, or an age: 7d.")
]
Sender = Annotated[str, typer.Option("--from", metavar="TEXT", help="Text in the From field.")]
Subject = Annotated[str, typer.Option("--subject", metavar="TEXT", help="Text in the Subject.")]
