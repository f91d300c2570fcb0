"""What the exit status of a program that was given a message means: sysexits.h, as we read it.

Like Postfix's pipe(8), EX_TEMPFAIL and the system's own troubles defer the message, and
what is said of the message or its recipient fails it. Unlike it, what is said of neither
defers too: a wrong option or setting of the program (EX_USAGE, EX_CONFIG), a bug in it
(EX_SOFTWARE), and any status that sysexits.h does not know, like the 1 with which scripts
end at whatever goes wrong. Postfix has a sender to whom such mail returns; here it would be
parked message by message for one typing error, while mail that waits for `give_up_after`
is delivered by itself once the program is repaired.
"""

from fetchd.contracts import Outcome

_FAILED, _DEFERRED = Outcome.FAILED, Outcome.DEFERRED

_MEANINGS = {
    64: (_DEFERRED, "EX_USAGE, it does not take these arguments"),
    65: (_FAILED, "EX_DATAERR, the message is not as it should be"),
    66: (_FAILED, "EX_NOINPUT, it cannot open its input"),
    67: (_FAILED, "EX_NOUSER, user unknown"),
    68: (_FAILED, "EX_NOHOST, host unknown"),
    69: (_FAILED, "EX_UNAVAILABLE, service unavailable"),
    70: (_DEFERRED, "EX_SOFTWARE, a fault in it"),
    71: (_DEFERRED, "EX_OSERR, trouble of the system"),
    72: (_DEFERRED, "EX_OSFILE, a file of the system is missing"),
    73: (_DEFERRED, "EX_CANTCREAT, it cannot make a file"),
    74: (_DEFERRED, "EX_IOERR, it cannot read or write a file"),
    75: (_DEFERRED, "EX_TEMPFAIL, later"),
    76: (_FAILED, "EX_PROTOCOL, another server broke the protocol"),
    77: (_FAILED, "EX_NOPERM, not permitted"),
    78: (_DEFERRED, "EX_CONFIG, its own settings are wrong"),
}


def verdict(status: int) -> tuple[Outcome, str]:
    """What becomes of the message, and what the status says, for people."""
    return _MEANINGS.get(status, (_DEFERRED, "not a status of sysexits.h"))
