"""Flags as letters in the name of a file of a Maildir, as all its readers take them."""

LETTERS = {
    "\\draft": "D", "\\flagged": "F", "$forwarded": "P", "\\answered": "R", "\\seen": "S",
    "\\deleted": "T",
}  # fmt: skip
SEEN = LETTERS["\\seen"]


def letters(flags: str) -> str:
    """Of the flags that have one, in ASCII order."""
    return "".join(sorted({LETTERS[f] for f in flags.lower().split() if f in LETTERS}))
