"""The commands under way: sent or being sent, not answered yet, and where they lead.

This is the state of RFC 9051 §3 with its future: `state` is what the answers so
far have made of it, `foreseen` what it will be once all that is pending has
succeeded. RULES (rules.py) decides what may join the flight.
"""

from collections.abc import Set as AbstractSet

from fetchd.errors import LocalProtocolError
from fetchd.protocol.imap.outgoing import Outgoing
from fetchd.protocol.imap.rules import RULES, Command, Order
from fetchd.protocol.imap.types import State

_OPENING = frozenset({"SELECT", "EXAMINE"})


class Flight:
    """Commands by tag, in the order in which they were sent."""

    def __init__(self) -> None:
        self.state = State.GREETING
        self.foreseen = State.GREETING
        self.pending: dict[str, Command] = {}
        self.tag = ""  # of the command sent last
        self.outgoing: Outgoing | None = None  # that command, while it is on its way
        self.turn = False  # ours, within AUTHENTICATE or IDLE
        self._opening = 0  # unanswered SELECTs and EXAMINEs

    def check(self, command: Command) -> None:
        """LocalProtocolError if the command may not be sent now."""
        rule, verb = RULES[command.verb], command.verb
        if self.state is State.LOGOUT or self.foreseen not in rule.legal_in:
            raise LocalProtocolError(f"{verb} is not legal in {self.foreseen.name}")
        last = next(reversed(self.pending.values())).verb if self.pending else ""
        if self.outgoing is not None:
            raise LocalProtocolError(f"{verb} while {last or 'a command'} is on its way")
        if last and (rule.order is Order.ALONE or RULES[last].order is not Order.FREE):
            raise LocalProtocolError(f"{verb} behind an unanswered {last}")
        if rule.settled and self._opening:
            raise LocalProtocolError(f"{verb} before the mailbox is known to be open")

    def launch(self, command: Command, capabilities: AbstractSet[str]) -> bytes:
        """Octets of the command, or of its first part."""
        self.tag = f"A{int(self.tag[1:] or 0) + 1}"
        self.pending[self.tag] = command
        self.foreseen = RULES[command.verb].then or self.foreseen
        self._opening += command.verb in _OPENING
        self.turn = False
        self.outgoing = Outgoing(self.tag, command, capabilities)
        return self._sent(self.outgoing.advance())

    def supply(self, piece: bytes) -> bytes:
        """Octets of the next part."""
        if self.outgoing is None:
            raise LocalProtocolError("octets for no command")
        return self._sent(self.outgoing.supply(piece))

    def take_turn(self, verb: str) -> None:
        if not self.turn or self.last_verb != verb:
            raise LocalProtocolError(f"it is not our turn within {verb}")
        self.turn = False

    @property
    def last_verb(self) -> str:
        """Of the command sent last, while it is unanswered."""
        return self.pending[self.tag].verb if self.tag in self.pending else ""

    def awaits(self, verb: str) -> bool:
        return any(command.verb == verb for command in self.pending.values())

    def land(self, tag: str) -> Command | None:
        """Take the command that is answered out; None if there is none."""
        command = self.pending.pop(tag, None)
        if command is not None and tag == self.tag:
            self.turn = False
            if self.outgoing is not None:
                self.outgoing.answered()
                self._sent(b"")
        return command

    def settle(self, command: Command, *, ok: bool) -> None:
        """What the answer makes of the state."""
        then = RULES[command.verb].then
        if command.verb in _OPENING:
            self._opening -= 1
            # RFC 9051 §6.3.2: whoever fails to select has no mailbox any more.
            self.enter(State.SELECTED if ok else State.AUTHENTICATED)
        elif then is not None:
            self.enter(then if ok else self.state)

    def enter(self, state: State) -> None:
        if self.state is State.LOGOUT:
            return  # BYE was said, whatever follows
        self.state = state
        leads = (RULES[command.verb].then for command in reversed(self.pending.values()))
        self.foreseen = next((to for to in leads if to is not None), state)

    def _sent(self, octets: bytes) -> bytes:
        if self.outgoing is not None and self.outgoing.finished:
            self.outgoing = None
        return octets
