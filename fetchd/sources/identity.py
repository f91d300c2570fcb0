"""Who is a message? Names for what a maildrop lists (RFC 1939 §7), stable between sessions.

* Its unique-id, any octets the server likes.
* A unique-id that several messages have (RFC 1939 only says "should be unique"):
  unique-id NUL header digest, or the size where no header can be had. Marked
  ambiguous, which means: never deleted.
* No unique-id, or none to be had: `header:` and the header's digest, by TOP n 0.
* No TOP either: `content:` and the digest of the whole message. Every poll then
  reads every such message, for nothing less can tell them apart.

What still coincides is numbered and marked ambiguous. Pure: the caller asks the
server for the headers and contents that `unclear` and `nameless` speak of.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from fetchd.policy.plan import RemoteMessage

MAX_UNIQUE_ID = 1024  # octets; RFC 1939 allows 70, and what is longer is no name


def listed(tokens: Mapping[int, bytes], sizes: Mapping[int, int]) -> list[RemoteMessage]:
    """One for each number of either listing; without a usable unique-id the uid is empty."""
    return [
        RemoteMessage(_usable(tokens.get(number, b"")), sizes.get(number, 0), number)
        for number in sorted(tokens.keys() | sizes.keys())
    ]


def nameless(messages: Sequence[RemoteMessage]) -> list[RemoteMessage]:
    """Those without a unique-id."""
    return [m for m in messages if not m.uid]


def unclear(messages: Sequence[RemoteMessage]) -> list[RemoteMessage]:
    """Those whose header must be looked at: no unique-id, or one that others have too."""
    if len({m.uid for m in messages}) == len(messages) and all(m.uid for m in messages):
        return []
    counts = Counter(m.uid for m in messages)
    return [m for m in messages if not m.uid or counts[m.uid] > 1]


def named(
    messages: Sequence[RemoteMessage],
    headers: Mapping[int, bytes],
    contents: Mapping[int, bytes],
) -> tuple[RemoteMessage, ...]:
    """The messages under their names; digests by number. What cannot be named is left out."""
    doubtful = unclear(messages)
    if not doubtful:
        return tuple(messages)
    names = {m.number: _name(m, headers, contents) for m in doubtful}
    counts = Counter(names.values())
    # On a server that has unique-ids, a message without one is a fault not to build on.
    has_unique_ids = any(m.uid for m in messages)
    seen: Counter[bytes] = Counter()
    result: list[RemoteMessage] = []
    for message in messages:
        name = names.get(message.number, message.uid)
        if not name:
            continue
        seen[name] += 1
        uid = name if seen[name] == 1 else b"%b\0%d" % (name, seen[name])
        ambiguous = message.number in names and (has_unique_ids or counts[name] > 1)
        result.append(RemoteMessage(uid, message.size, message.number, ambiguous))
    return tuple(result)


def _name(
    message: RemoteMessage, headers: Mapping[int, bytes], contents: Mapping[int, bytes]
) -> bytes:
    header, content = headers.get(message.number), contents.get(message.number)
    if message.uid:
        mark = header.hex().encode() if header else b"%d" % message.size
        return b"%b\0%b" % (message.uid, mark)
    if header:
        return b"header:" + header.hex().encode()
    return b"content:" + content.hex().encode() if content else b""


def _usable(token: bytes) -> bytes:
    return token if len(token) <= MAX_UNIQUE_ID else b""
