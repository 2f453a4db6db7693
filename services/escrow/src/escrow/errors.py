"""What escrow refuses, each in its own sentence."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from shared.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    NotImplementedYet,
)


class EscrowNotFound(NotFound):
    code = "escrow-not-found"

    def __init__(self, escrow_id: UUID) -> None:
        super().__init__(f"There is no escrow {escrow_id}, or you have no part in it.")


class NotYourMove(Forbidden):
    code = "not-your-move"

    def __init__(self, action: str, allowed: Iterable[str]) -> None:
        who = " or the ".join(sorted(allowed))
        super().__init__(f"Only the {who} may {action} here.")


class OwnSessionNeeded(Forbidden):
    code = "own-session-needed"

    def __init__(self) -> None:
        super().__init__("This needs a session of your own; a frontend may not do it for you.")


class AccountFrozen(Forbidden):
    code = "account-frozen"

    def __init__(self) -> None:
        super().__init__("Your account is frozen; money does not move for it.")


class MoneyIsMoving(Conflict):
    code = "settling"
    title = "Money is on its way"

    def __init__(self, settling: str, state: str) -> None:
        super().__init__(
            f"A {settling.lower()} is under way; wait until the provider has confirmed it.",
            state=state,
        )


class OwnershipUnconfirmed(Conflict):
    code = "ownership-unconfirmed"
    title = "The seller's ownership is being confirmed again"
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__("Payment opens when the game's owner has been checked once more.")


class OwnershipLost(Conflict):
    code = "ownership-lost"
    title = "The seller no longer owns the game"

    def __init__(self) -> None:
        super().__init__("The last check did not find the seller as owner. You may cancel.")


class CancelNotOpen(Conflict):
    code = "cancel-not-open"
    title = "Cancelling is not open to you now"

    def __init__(self, state: str) -> None:
        super().__init__(
            "Before payment the buyer may cancel only when the seller has lost the game.",
            state=state,
        )


class ReclaimNotOpen(Conflict):
    code = "reclaim-not-open"
    title = "The seller still has time to deliver"

    def __init__(self, state: str, deliver_by: datetime) -> None:
        super().__init__(
            f"The seller has until {deliver_by.isoformat()} to deliver; then you may cancel.",
            state=state,
        )


class OnHold(Conflict):
    code = "on-hold"
    title = "The trade is on hold"

    def __init__(self, state: str) -> None:
        super().__init__("Staff have stopped it; wait until they let it go on.", state=state)


class MilestoneNotFound(NotFound):
    code = "milestone-not-found"

    def __init__(self, position: int) -> None:
        super().__init__(f"This escrow has no milestone {position}.")


class IsDivided(Conflict):
    code = "is-divided"
    title = "The trade is divided into milestones"

    def __init__(self, escrow_id: UUID, state: str) -> None:
        super().__init__(
            f"Each is settled on its own: use /v1/escrows/{escrow_id}/milestones/{{position}}/…",
            state=state,
        )


class PlanDoesNotFit(Invalid):
    code = "milestone-plan-does-not-fit"


class PlanNotFound(NotFound):
    code = "milestone-plan-not-found"

    def __init__(self) -> None:
        super().__init__("Nobody has proposed milestones for this escrow.")


class PlanChanged(Conflict):
    code = "milestone-plan-changed"
    title = "Other milestones have been proposed since"

    def __init__(self, state: str, version: int) -> None:
        super().__init__(
            f"The newest proposal is version {version}; read it, then accept that one.", state=state
        )


class PlanAgreed(Conflict):
    code = "milestone-plan-agreed"
    title = "The milestones have been agreed"

    def __init__(self, state: str) -> None:
        super().__init__("They stand as both sides agreed to them.", state=state)


class PaymentMade(Conflict):
    code = "payment-made"
    title = "A payment has been made"

    def __init__(self, state: str) -> None:
        super().__init__("The trade stays as it was when it was paid.", state=state)


class HoldNotFound(NotFound):
    code = "hold-not-found"

    def __init__(self, hold_id: UUID) -> None:
        super().__init__(f"There is no hold {hold_id} on this escrow.")


class HoldLifted(Conflict):
    code = "hold-lifted"
    title = "The hold has been lifted already"

    def __init__(self, state: str) -> None:
        super().__init__("Place a new one to stop the trade again.", state=state)


class DisputeNotFound(NotFound):
    code = "dispute-not-found"

    def __init__(self, dispute_id: UUID) -> None:
        super().__init__(f"There is no dispute {dispute_id} in this escrow.")


class DisputeOver(Conflict):
    code = "dispute-over"
    title = "The dispute has been decided"

    def __init__(self, state: str) -> None:
        super().__init__("Nothing can be added to it or changed any more.", state=state)


class EvidenceNotFound(NotFound):
    code = "evidence-not-found"

    def __init__(self, file_id: UUID) -> None:
        super().__init__(f"There is no file {file_id} in this escrow, or it is not shown to you.")


class EvidenceClosed(Conflict):
    code = "evidence-closed"
    title = "No evidence is taken now"

    def __init__(self, state: str) -> None:
        super().__init__("Files are taken from the payment to the end of a trade.", state=state)


class EvidenceNotReady(Conflict):
    code = "evidence-not-ready"
    title = "The file has not passed its check"

    def __init__(self, file_id: UUID, state: str) -> None:
        super().__init__(f"File {file_id} is {state}; only READY files can be used.", state=state)


class EvidenceAttached(Conflict):
    code = "evidence-attached"
    title = "The file has been attached already"

    def __init__(self, file_id: UUID, state: str) -> None:
        super().__init__(f"File {file_id} belongs to something; upload it again.", state=state)


class TooManyFiles(Conflict):
    code = "too-many-files"
    title = "The side has attached enough files"

    def __init__(self, limit: int, state: str) -> None:
        super().__init__(f"Each side attaches {limit} files to a dispute at most.", state=state)


class SplitDoesNotFit(Invalid):
    code = "split-does-not-fit"


class SplitBegun(Conflict):
    code = "split-begun"
    title = "The buyer has been given a part back"

    def __init__(self, state: str, to_buyer: int) -> None:
        super().__init__(
            f"Only SPLIT with to_buyer = {to_buyer} can be decided again.", state=state
        )


class SellerStillWaited(Conflict):
    code = "seller-still-waited-for"
    title = "The seller may still be paid"

    def __init__(self, state: str, opens_at: datetime) -> None:
        super().__init__(
            "After a delivery staff may refund only a seller who cannot be paid, nothing of a"
            f" split, and not before {opens_at.isoformat()}. Until then decide by a dispute.",
            state=state,
        )


class NotSuspended(NotFound):
    code = "not-in-suspense"

    def __init__(self, payment_id: UUID) -> None:
        super().__init__(f"There is no payment {payment_id} whose money was set aside.")


class SuspenseSettled(Conflict):
    code = "suspense-settled"
    title = "This money has been dealt with"

    def __init__(self, state: str, what: str) -> None:
        super().__init__(f"It has been {what} already, or is about to be.", state=state)


class AttributionDoesNotFit(Conflict):
    code = "attribution-does-not-fit"
    title = "This is not the agreed amount"

    def __init__(self, state: str, amount: int, currency: str) -> None:
        super().__init__(
            f"The escrow needs exactly {amount} cents of {currency}; send the money back instead.",
            state=state,
        )


class PaymentOverdue(Conflict):
    code = "payment-overdue"
    title = "The time to pay is over"

    def __init__(self, state: str) -> None:
        super().__init__("The escrow is about to be cancelled.", state=state)


class PaymentInReview(Conflict):
    code = "payment-in-review"
    title = "A payment is being looked at"

    def __init__(self, state: str) -> None:
        super().__init__(
            "Money came that is not what was agreed; staff will resolve it.", state=state
        )


class AlreadyConfirmed(Conflict):
    code = "already-confirmed"
    title = "The payout has been decided already"

    def __init__(self, state: str) -> None:
        super().__init__("The payout is due; it waits until the seller can be paid.", state=state)


class RailNotOpen(NotImplementedYet):
    code = "rail-not-open"
    title = "This way to pay comes later"

    def __init__(self) -> None:
        super().__init__("Payments above $10,000.00 will be made in USDC on Base; not offered yet.")


class TermsContradict(Invalid):
    code = "terms-contradict"

    def __init__(self, contract_id: UUID) -> None:
        super().__init__(
            f"Contract {contract_id} names a rail that its amount and currency forbid."
        )


class WebhookRefused(DomainError):
    code = "webhook-refused"
    title = "The webhook was not accepted"


class UnknownIntent(DomainError):
    """The provider shows an object that names no intent of ours."""

    code = "unknown-intent"


class ProviderDisagrees(DomainError):
    """The provider's object is not what was asked for; a person must look."""

    code = "provider-disagrees"
