"""What a kill loop did, and what was violated, in words for people."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """What was done and what was violated."""

    kills: int = 0
    at_work: int = 0  # of them, after the run had changed something on disk or server
    ended: int = 0  # runs that were done before their kill came
    unthinned: int = 0  # of them, leaving mail on the server for the next round
    fillings: int = 0
    messages: int = 0
    undisturbed: float = 0.0
    start_up: float = 0.0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)  # further lines
    violations: list[str] = field(default_factory=list)
    done: str = "every message once in the archive, once in the Maildir, none missing, server empty"

    def text(self) -> str:
        """For people."""
        lines = [
            f"{self.kills} kills in {self.seconds:.0f} s",
            f"{self.at_work} of them after the run had changed something on disk or server",
            f"{self.ended} runs ended before their kill",
            f"{self.unthinned} of them left mail on the server for the next",
            f"{self.messages} messages in {self.fillings} fillings",
            f"undisturbed {self.undisturbed:.2f} s, with nothing new {self.start_up:.2f} s",
            *self.notes,
            *(f"VIOLATED: {violation}" for violation in self.violations),
        ]
        if not self.violations:
            lines.append(self.done)
        return "\n".join(lines)
