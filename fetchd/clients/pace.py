"""How slowly a server may speak: a bound on what is never quite silent.

Every read has a deadline of its own; a server that sends one octet just before
each of them would still hold a sync for ever. So each answer, from its command
to its last octet, has PATIENCE read timeouts of credit: our waiting spends it,
octets earn it back at MIN_RATE, and it never grows beyond what it began with.
Only our waiting counts: a reader that takes its time costs the server nothing.
"""

PATIENCE = 3  # read timeouts: a tarpit and a slow disk are forgiven, a drip is not
MIN_RATE = 200  # octets a second; a GSM call of 9,600 bit/s carries five times as many


class Pace:
    """The credit of the answer that is being read."""

    def __init__(self, read_timeout: float) -> None:
        self._full = self._credit = PATIENCE * read_timeout

    def note(self, waited: float, octets: int) -> None:
        """One read took so many seconds and brought so much."""
        self._credit = min(self._full, self._credit - waited + octets / MIN_RATE)

    def restart(self) -> None:
        """An answer is complete."""
        self._credit = self._full

    @property
    def too_slow(self) -> bool:
        """Whether it is time to hang up."""
        return self._credit < 0
