"""What a refusal by a mail server means where it is not about one message.

Codes decide: 4yz passes, 5yz does not (RFC 5321 §4.2.1), and those of RFC 4954 §6 are about
the login. To treat one more code, put it into a set below.
"""

from fetchd.clients.refusals import is_passing, not_authenticated
from fetchd.errors import AccountRefused, FetchdError, ServerUnavailable
from fetchd.protocol.smtp_replies import Reply

# RFC 4954 §6, RFC 3207 §4: log in first, log in otherwise, wrong password, encrypt first.
_LOGIN = frozenset({530, 534, 535, 538})
_ENCRYPT = frozenset({538})
# The session as a whole is at fault, whatever it was that was asked for.
_ABOUT_SERVER = _LOGIN | {421, 454}
_NOT_UNDERSTOOD = frozenset({500, 501, 502, 503, 504})


def refusal(reply: Reply, what: str) -> FetchdError:
    """The error for a refusal that concerns the destination as a whole."""
    sentence = f"{what}: {reply}"
    if reply.code in _LOGIN:
        return not_authenticated("TLS" if reply.code in _ENCRYPT else reply.text, sentence)
    if reply.passing:
        return ServerUnavailable(sentence)
    return AccountRefused(
        sentence, advice="Ask whoever runs that server why; its reply says what it dislikes."
    )


def login_refusal(reply: Reply, what: str) -> FetchdError:
    """The error for a refusal of a login: in doubt it is about the password."""
    sentence = f"{what}: {reply}"
    if reply.code == 432:  # RFC 4954 §4.7.12: the password has to be changed or used once
        return not_authenticated(reply.text, sentence)
    if reply.passing or (reply.code not in _LOGIN and is_passing(reply.text)):
        return ServerUnavailable(sentence)
    return not_authenticated("TLS" if reply.code in _ENCRYPT else reply.text, sentence)


def is_about_server(reply: Reply) -> bool:
    """Whether no other message would fare better."""
    return reply.code in _ABOUT_SERVER


def is_about_login(reply: Reply) -> bool:
    """Whether it wants a login, another one, or an encrypted line."""
    return reply.code in _LOGIN


def is_not_understood(reply: Reply) -> bool:
    """Whether the server does not know the command or mechanism, rather than refusing it."""
    return reply.code in _NOT_UNDERSTOOD
