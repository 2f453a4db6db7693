"""The kinds of refusal; each service's own errors are subclasses that write their own sentence.

DomainError
├── Forbidden        the caller may not do this at all
├── NotFound         no such object, or none the caller has a part in
├── Conflict         the object's state forbids the move
│   └── NotYetKnown  a fact from another service has not arrived; ask again in a second
├── PreconditionFailed  the object has changed since the caller read it
├── Invalid          the request contradicts a rule that its shape cannot show
├── TooManyRequests  a limit is used up
├── Unavailable      the outside does not answer
└── NotImplementedYet
"""

from typing import ClassVar


class DomainError(Exception):
    """A refusal that a client can understand: stable `code`, fixed `title`, own sentence."""

    code: ClassVar[str] = "refused"
    title: ClassVar[str] = "Refused"

    def __init__(self, detail: str, *, field: str | None = None, **extra: str | int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.extra = extra
        """Further members of the problem body, for example the `state` that forbids a move."""


class Forbidden(DomainError):
    code = "forbidden"
    title = "Not allowed"


class NotFound(DomainError):
    code = "not-found"
    title = "Not found"


class Conflict(DomainError):
    code = "conflict"
    title = "The current state forbids this"


class NotYetKnown(Conflict):
    code = "not-yet-known"
    title = "A fact from another service has not arrived yet"
    retry_after_seconds = 1


class PreconditionFailed(DomainError):
    code = "precondition-failed"
    title = "The object has changed since it was read"


class Invalid(DomainError):
    code = "invalid"
    title = "The request breaks a rule"


class TooManyRequests(DomainError):
    code = "too-many-requests"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(DomainError):
    code = "unavailable"
    title = "A part of the outside world does not answer"

    def __init__(self, detail: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class NotImplementedYet(DomainError):
    code = "not-implemented"
    title = "Not offered yet"
