"""States, moves and who may make them, as tables; nothing else moves a row."""

from collections.abc import Mapping
from enum import StrEnum

from shared.lifecycle import Lifecycle


class EscrowStatus(StrEnum):
    AWAIT_FUNDS = "AWAIT_FUNDS"
    FUNDS_HELD = "FUNDS_HELD"
    DELIVERED = "DELIVERED"
    RELEASED = "RELEASED"
    DISPUTED = "DISPUTED"
    REFUNDED = "REFUNDED"
    CANCELLED = "CANCELLED"


class EscrowAction(StrEnum):
    PLAN = "plan"
    """The sides agree to divide it into milestones."""
    FUND = "fund"
    CANCEL = "cancel"
    DELIVER = "deliver"
    RELEASE = "release"
    REFUND = "refund"
    REFUND_UNPAID = "refund_unpaid"
    """Staff give back what the seller could not be paid for too long."""
    RECLAIM = "reclaim"
    """The buyer takes back money for which nothing was delivered in time."""
    DISPUTE = "dispute"
    REJECT = "reject"
    """The buyer refuses what was delivered."""
    AWARD_SELLER = "award_seller"
    AWARD_BUYER = "award_buyer"
    WITHDRAW_UNDELIVERED = "withdraw_undelivered"
    WITHDRAW_DELIVERED = "withdraw_delivered"
    CHARGE_BACK = "charge_back"
    """The bank has taken the payment back for good."""
    FINISH = "finish"
    """The last milestone has ended, and the seller was paid for one at least."""


ESCROW = Lifecycle(
    "The escrow",
    initial=EscrowStatus.AWAIT_FUNDS,
    moves={
        (EscrowStatus.AWAIT_FUNDS, EscrowAction.PLAN): EscrowStatus.AWAIT_FUNDS,
        (EscrowStatus.AWAIT_FUNDS, EscrowAction.FUND): EscrowStatus.FUNDS_HELD,
        (EscrowStatus.AWAIT_FUNDS, EscrowAction.CANCEL): EscrowStatus.CANCELLED,
        (EscrowStatus.FUNDS_HELD, EscrowAction.DELIVER): EscrowStatus.DELIVERED,
        (EscrowStatus.FUNDS_HELD, EscrowAction.REFUND): EscrowStatus.REFUNDED,
        (EscrowStatus.FUNDS_HELD, EscrowAction.RECLAIM): EscrowStatus.REFUNDED,
        (EscrowStatus.FUNDS_HELD, EscrowAction.DISPUTE): EscrowStatus.DISPUTED,
        (EscrowStatus.DELIVERED, EscrowAction.RELEASE): EscrowStatus.RELEASED,
        (EscrowStatus.DELIVERED, EscrowAction.REFUND_UNPAID): EscrowStatus.REFUNDED,
        (EscrowStatus.DELIVERED, EscrowAction.DISPUTE): EscrowStatus.DISPUTED,
        (EscrowStatus.DELIVERED, EscrowAction.REJECT): EscrowStatus.DISPUTED,
        (EscrowStatus.DISPUTED, EscrowAction.AWARD_SELLER): EscrowStatus.RELEASED,
        (EscrowStatus.DISPUTED, EscrowAction.AWARD_BUYER): EscrowStatus.REFUNDED,
        (EscrowStatus.DISPUTED, EscrowAction.WITHDRAW_UNDELIVERED): EscrowStatus.FUNDS_HELD,
        (EscrowStatus.DISPUTED, EscrowAction.WITHDRAW_DELIVERED): EscrowStatus.DELIVERED,
        (EscrowStatus.FUNDS_HELD, EscrowAction.CHARGE_BACK): EscrowStatus.REFUNDED,
        (EscrowStatus.DELIVERED, EscrowAction.CHARGE_BACK): EscrowStatus.REFUNDED,
        (EscrowStatus.DISPUTED, EscrowAction.CHARGE_BACK): EscrowStatus.REFUNDED,
        (EscrowStatus.FUNDS_HELD, EscrowAction.FINISH): EscrowStatus.RELEASED,
    },
)

OF_THE_WHOLE = frozenset(
    {EscrowAction.PLAN, EscrowAction.FUND, EscrowAction.CANCEL, EscrowAction.CHARGE_BACK}
)
"""What happens to a trade as one, also when it is divided into milestones."""

MILESTONE: Lifecycle[EscrowStatus, EscrowAction] = Lifecycle(
    "The milestone",
    initial=ESCROW.initial,
    moves={
        (state, action): after
        for (state, action), after in ESCROW.moves.items()
        if action not in {EscrowAction.PLAN, EscrowAction.FINISH}
    },
)
"""A milestone is a small escrow; its whole stays FUNDS_HELD until the last of them has ended."""


class Role(StrEnum):
    """What a caller is to one escrow."""

    BUYER = "buyer"
    SELLER = "seller"
    STAFF = "staff"


MAY_ASK: Mapping[EscrowAction, frozenset[Role]] = {
    EscrowAction.PLAN: frozenset({Role.BUYER, Role.SELLER}),
    EscrowAction.FUND: frozenset({Role.BUYER}),
    EscrowAction.CANCEL: frozenset({Role.BUYER}),
    EscrowAction.DELIVER: frozenset({Role.SELLER}),
    EscrowAction.RELEASE: frozenset({Role.BUYER}),
    EscrowAction.REFUND: frozenset({Role.SELLER, Role.STAFF}),
    EscrowAction.REFUND_UNPAID: frozenset({Role.STAFF}),
    EscrowAction.RECLAIM: frozenset({Role.BUYER}),
    EscrowAction.DISPUTE: frozenset({Role.BUYER, Role.SELLER}),
    EscrowAction.REJECT: frozenset({Role.BUYER}),
    EscrowAction.AWARD_SELLER: frozenset({Role.STAFF}),
    EscrowAction.AWARD_BUYER: frozenset({Role.STAFF}),
    EscrowAction.WITHDRAW_UNDELIVERED: frozenset({Role.BUYER, Role.SELLER}),
    EscrowAction.WITHDRAW_DELIVERED: frozenset({Role.BUYER, Role.SELLER}),
    EscrowAction.CHARGE_BACK: frozenset(),
    EscrowAction.FINISH: frozenset(),
}
"""Whose word starts a move; money itself moves only when the provider says so."""


class Settling(StrEnum):
    """A move whose money is on its way: until it ends every other command is refused."""

    CANCEL = "CANCEL"
    RELEASE = "RELEASE"
    REFUND = "REFUND"
    SPLIT = "SPLIT"
    """The buyer's part goes back first, then the seller is paid the rest."""


class DisputeStatus(StrEnum):
    OPEN = "OPEN"
    IN_REVIEW = "IN_REVIEW"
    RESOLVED = "RESOLVED"
    CLOSED = "CLOSED"
    """Both sides have withdrawn it, or the money it was about is gone."""


class DisputeAction(StrEnum):
    TAKE = "take"
    RESOLVE = "resolve"
    WITHDRAW = "withdraw"
    LAPSE = "lapse"
    """The bank has taken the money it was about."""


DISPUTE = Lifecycle(
    "The dispute",
    initial=DisputeStatus.OPEN,
    moves={
        (DisputeStatus.OPEN, DisputeAction.TAKE): DisputeStatus.IN_REVIEW,
        (DisputeStatus.OPEN, DisputeAction.WITHDRAW): DisputeStatus.CLOSED,
        (DisputeStatus.OPEN, DisputeAction.LAPSE): DisputeStatus.CLOSED,
        (DisputeStatus.IN_REVIEW, DisputeAction.RESOLVE): DisputeStatus.RESOLVED,
        (DisputeStatus.IN_REVIEW, DisputeAction.WITHDRAW): DisputeStatus.CLOSED,
        (DisputeStatus.IN_REVIEW, DisputeAction.LAPSE): DisputeStatus.CLOSED,
    },
)


class Resolution(StrEnum):
    RELEASE = "RELEASE"
    REFUND = "REFUND"
    SPLIT = "SPLIT"


class EvidenceStatus(StrEnum):
    """How far a file is that a side brings as evidence."""

    PENDING = "PENDING"
    """Announced; its bytes may be uploaded."""
    CHECKING = "CHECKING"
    READY = "READY"
    """Clean bytes are kept; its uploader may attach it."""
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"
    """Nobody has attached it in time."""


class EvidenceAction(StrEnum):
    COMPLETE = "complete"
    ACCEPT = "accept"
    REFUSE = "refuse"
    EXPIRE = "expire"


EVIDENCE = Lifecycle(
    "The file",
    initial=EvidenceStatus.PENDING,
    moves={
        (EvidenceStatus.PENDING, EvidenceAction.COMPLETE): EvidenceStatus.CHECKING,
        (EvidenceStatus.CHECKING, EvidenceAction.ACCEPT): EvidenceStatus.READY,
        (EvidenceStatus.CHECKING, EvidenceAction.REFUSE): EvidenceStatus.REFUSED,
        (EvidenceStatus.PENDING, EvidenceAction.EXPIRE): EvidenceStatus.EXPIRED,
        (EvidenceStatus.READY, EvidenceAction.EXPIRE): EvidenceStatus.EXPIRED,
        (EvidenceStatus.REFUSED, EvidenceAction.EXPIRE): EvidenceStatus.EXPIRED,
    },
)


class HoldKind(StrEnum):
    """Why nobody but staff may move an escrow."""

    CHARGEBACK = "CHARGEBACK"
    SANCTION = "SANCTION"
    STAFF = "STAFF"


class DeliveryStatus(StrEnum):
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"


class Ownership(StrEnum):
    """What identity has said of the seller's game since the escrow opened."""

    UNCONFIRMED = "UNCONFIRMED"
    CONFIRMED = "CONFIRMED"
    LOST = "LOST"


class IntentKind(StrEnum):
    """What is asked of the provider; part of the idempotency key, so never renamed."""

    FUND = "fund"
    RELEASE = "release"
    REFUND = "refund"
    RETURN = "return"
    """Money that fits nothing, sent back."""
    REVERSE = "reverse"
    """A payout asked back from the seller, after the bank took the payment."""
    ACCOUNT = "account"


class IntentState(StrEnum):
    CREATED = "CREATED"
    CALLING = "CALLING"
    IN_DOUBT = "IN_DOUBT"
    """The provider may have done it; nobody knows yet."""
    ACCEPTED = "ACCEPTED"
    """The provider's object is known."""
    SETTLED = "SETTLED"
    """The money has moved and is posted."""
    FAILED = "FAILED"
    NOT_EXECUTED = "NOT_EXECUTED"
    """After 23 hours the provider has no such object."""

    @property
    def is_over(self) -> bool:
        """Nothing more is expected of it."""
        return self in {IntentState.SETTLED, IntentState.FAILED, IntentState.NOT_EXECUTED}

    @property
    def has_no_effect(self) -> bool:
        """It moved no money and will move none."""
        return self in {IntentState.FAILED, IntentState.NOT_EXECUTED}


class IntentAction(StrEnum):
    CALL = "call"
    DOUBT = "doubt"
    ACCEPT = "accept"
    SETTLE = "settle"
    FAIL = "fail"
    GIVE_UP = "give_up"


_UNKNOWN = (IntentState.CREATED, IntentState.CALLING, IntentState.IN_DOUBT)
INTENT = Lifecycle(
    "The intent",
    initial=IntentState.CREATED,
    moves={
        **{(state, IntentAction.CALL): IntentState.CALLING for state in _UNKNOWN},
        **{(state, IntentAction.ACCEPT): IntentState.ACCEPTED for state in _UNKNOWN},
        **{(state, IntentAction.FAIL): IntentState.FAILED for state in _UNKNOWN},
        (IntentState.CALLING, IntentAction.DOUBT): IntentState.IN_DOUBT,
        (IntentState.IN_DOUBT, IntentAction.GIVE_UP): IntentState.NOT_EXECUTED,
        (IntentState.CALLING, IntentAction.GIVE_UP): IntentState.NOT_EXECUTED,
        (IntentState.NOT_EXECUTED, IntentAction.ACCEPT): IntentState.ACCEPTED,
        (IntentState.ACCEPTED, IntentAction.SETTLE): IntentState.SETTLED,
        (IntentState.ACCEPTED, IntentAction.FAIL): IntentState.FAILED,
    },
)

PAYMENT_RANK: Mapping[str, int] = {
    "requires_payment_method": 0,
    "requires_confirmation": 1,
    "requires_action": 2,
    "processing": 3,
    "requires_capture": 4,
    "canceled": 5,
    "succeeded": 6,
}
"""A payment is only ever seen moving up: webhooks come late, twice and in any order."""


def is_newer(seen: str, known: str | None) -> bool:
    """Whether a payment's status is further than what we knew; an unknown status never is."""
    return PAYMENT_RANK.get(seen, -1) > (-1 if known is None else PAYMENT_RANK[known])
