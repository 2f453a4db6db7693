"""Disputes: the bank takes a payment back, and the platform wins or loses it."""

from simulators.state import Record
from simulators.stripe.wire import StripeRefused
from simulators.stripe.world import CARDS, FEES, PLATFORM, StripeWorld

FEE_CENTS = 1500
EVIDENCE_SECONDS = 7 * 24 * 3600


def open_dispute(world: StripeWorld, charge_id: str, reason: str) -> Record:
    """Take the money and the bank's fee from the platform.

    Raises:
        StripeRefused: the charge took no money, or is disputed already.
    """
    charge = world.get("charge", charge_id, "charge")
    if charge["disputed"] or charge["status"] != "succeeded":
        raise StripeRefused(400, "This charge cannot be disputed (any more).", param="charge")
    amount = charge["amount"] - charge["amount_refunded"]
    dispute = world.new(
        "du",
        "dispute",
        amount=amount,
        balance_transactions=[],
        charge=charge_id,
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={"enhanced_evidence": {}},
        evidence_details={
            "due_by": world.now() + EVIDENCE_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        is_charge_refundable=False,
        livemode=False,
        metadata={},
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="needs_response",
    )
    taken = world.move(
        "adjustment",
        dispute,
        {PLATFORM: -amount - FEE_CENTS, FEES: FEE_CENTS, CARDS: amount},
        fee=FEE_CENTS,
    )
    dispute["balance_transactions"] = [world.seen(world.get("balance_transaction", taken))]
    charge["disputed"] = True
    world.put(charge)
    world.put(dispute)
    world.tell("charge.dispute.created", dispute)
    world.tell("charge.dispute.funds_withdrawn", dispute)
    return dispute


def close_dispute(world: StripeWorld, dispute_id: str, *, is_won: bool) -> Record:
    """Winning brings the amount back, without the fee.

    Raises:
        StripeRefused: it is closed already.
    """
    dispute = world.get("dispute", dispute_id)
    if dispute["status"] in {"won", "lost"}:
        raise StripeRefused(400, f"This dispute has been {dispute['status']} already.")
    dispute["status"] = "won" if is_won else "lost"
    if is_won:
        back = world.move(
            "adjustment", dispute, {PLATFORM: dispute["amount"], CARDS: -dispute["amount"]}
        )
        dispute["balance_transactions"].append(world.seen(world.get("balance_transaction", back)))
        world.tell("charge.dispute.funds_reinstated", dispute)
    world.put(dispute)
    world.tell("charge.dispute.closed", dispute)
    return dispute
