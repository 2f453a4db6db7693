"""Identity's refusals."""

from uuid import UUID

from shared.errors import Conflict, Forbidden, Invalid, NotFound


class SignInRefused(Invalid):
    code = "sign-in-refused"
    title = "This sign-in cannot be completed"


class AccountTaken(Conflict):
    code = "account-taken"
    title = "This account belongs to somebody else"

    def __init__(self, provider: str) -> None:
        super().__init__(f"This {provider} account is linked to another user already.")


class AlreadyLinked(Conflict):
    code = "already-linked"
    title = "Another account of this provider is linked"

    def __init__(self, provider: str) -> None:
        super().__init__(f"You have linked another {provider} account. Unlink it first.")


class EmailTaken(Conflict):
    code = "email-taken"
    title = "A user with this e-mail address exists"

    def __init__(self) -> None:
        super().__init__("Sign in the way you did before, then link this account.")


class RobloxNotLinked(Forbidden):
    code = "roblox-not-linked"
    title = "A linked Roblox account is needed"

    def __init__(self) -> None:
        super().__init__("Link your Roblox account first: POST /v1/auth/roblox/start.")


class VerificationNotFound(NotFound):
    code = "verification-not-found"
    title = "No such verification"

    def __init__(self, verification_id: UUID) -> None:
        super().__init__(f"You have no verification {verification_id}.")


class SessionNotFound(NotFound):
    code = "session-not-found"
    title = "No such session"

    def __init__(self, session_id: UUID) -> None:
        super().__init__(f"You have no session {session_id}.")
