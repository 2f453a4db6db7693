"""What a contract's document says, in order; pure, so that the same input says the same."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

from contracts.documents.inputs import Draft
from contracts.documents.page import (
    Block,
    Clauses,
    Facts,
    Heading,
    Note,
    Signatures,
    Text,
    Title,
    Told,
)
from contracts.documents.template import Terms
from shared.events.cards import Deal, PartyCard
from shared.money import Rail, show

_RAILS = {Rail.STRIPE: "card (Stripe)", Rail.USDC_BASE: "USDC on Base"}


def terms_sha256(draft: Draft) -> str:
    """Hash of what was agreed, in canonical JSON (sorted members, no spaces)."""
    canonical = json.dumps(
        draft.deal.model_dump(mode="json"), sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def blocks(draft: Draft, terms: Terms) -> list[Block]:
    """The document from its title to the place of the signatures."""
    deal, values = draft.deal, _values(draft)
    return [
        Title(
            terms.name,
            f"concluded on {_day(deal.accepted_at)} between",
            [("The Seller", deal.seller.name), ("The Buyer", deal.buyer.name)],
        ),
        Heading("The Parties"),
        Facts("Seller", _party(deal.seller)),
        Facts("Buyer", _party(deal.buyer)),
        Heading("The Game"),
        Facts(None, _game(deal), draft.thumbnail),
        Heading("The Deal"),
        Facts(
            None,
            [
                ("Price", values["price"]),
                ("Platform fee", f"{values['fee']} ({_percent(deal.terms.fee_basis_points)})"),
                ("The Seller receives", values["payout"]),
                ("Payment by", values["rail"]),
                ("Sign by", values["sign_by"]),
                ("Pay within", f"{values['pay_within']} after the escrow opens"),
                ("Deliver within", f"{values['deliver_within']} after the payment"),
                ("Accepted by silence", f"{values['auto_release']} after the delivery"),
                *_reclaim(deal, values),
            ],
        ),
        Heading("Special conditions"),
        Text(deal.conditions) if deal.conditions else Note("None."),
        Heading("Terms"),
        Clauses([(clause.heading, clause.filled(values)) for clause in terms.clauses]),
        Heading("Signatures"),
        Note(terms.consent),
        Signatures([("Seller", deal.seller.name), ("Buyer", deal.buyer.name)]),
        Facts(
            "Identification of this document",
            [
                ("Contract", str(draft.contract_id)),
                ("Offer", str(deal.offer_id)),
                ("Listing", str(deal.listing_id)),
                ("Template version", terms.version),
                ("SHA-256 of the terms", terms_sha256(draft)),
            ],
        ),
    ]


def _party(card: PartyCard) -> list[Told]:
    rows: list[Told] = [
        ("Name", card.name),
        ("Roblox account", [card.roblox_name, f" (id {card.roblox_id})"]),
    ]
    if card.discord_id:
        rows.append(("Discord account", [card.discord_name or "-", f" (id {card.discord_id})"]))
    if card.wallet_address:
        rows.append(("Wallet", card.wallet_address))
    rows.append(("User", str(card.user_id)))
    return rows


def _game(deal: Deal) -> list[Told]:
    game = deal.game
    rows: list[Told] = [
        ("Name", game.game_name),
        ("Universe id", game.game_id),
        ("Owned by", [game.creator_name or "-", f" ({game.creator_type} {game.creator_id})"]),
    ]
    if game.created_date:
        rows.append(("Published", _day(game.created_date)))
    if game.visits is not None:
        rows.append(("Visits", f"{game.visits:,}"))
    if game.player_count is not None:
        rows.append(("Players", f"{game.player_count:,}"))
    rows.append(("As of", moment(game.taken_at)))
    return rows


def _reclaim(deal: Deal, values: dict[str, str]) -> list[Told]:
    """On chain the Buyer does not depend on the platform for ever."""
    if deal.terms.rail is not Rail.USDC_BASE:
        return []
    return [("Reclaim by the Buyer", f"{values['reclaim_after']} after the payment")]


def _values(draft: Draft) -> dict[str, str]:
    deal, terms = draft.deal, draft.deal.terms
    return {
        "seller_name": deal.seller.name,
        "seller_roblox": deal.seller.roblox_name,
        "seller_roblox_id": deal.seller.roblox_id,
        "buyer_name": deal.buyer.name,
        "buyer_roblox": deal.buyer.roblox_name,
        "buyer_roblox_id": deal.buyer.roblox_id,
        "game_name": deal.game.game_name,
        "game_id": deal.game.game_id,
        "price": show(deal.amount, deal.currency),
        "fee": show(terms.fee, deal.currency),
        "payout": show(deal.amount - terms.fee, deal.currency),
        "rail": _RAILS[terms.rail],
        "sign_by": moment(draft.sign_by),
        "pay_within": span(terms.pay_within_seconds),
        "deliver_within": span(terms.deliver_within_seconds),
        "auto_release": span(terms.auto_release_seconds),
        "reclaim_after": span(terms.reclaim_after_seconds),
    }


def _percent(basis_points: int) -> str:
    return f"{basis_points // 100}.{basis_points % 100:02d} %"


def _day(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%-d %B %Y")


def moment(when: datetime) -> str:
    """For people, to the second: `3 May 2027, 14:00:05 UTC`."""
    return when.astimezone(UTC).strftime("%-d %B %Y, %H:%M:%S UTC")


def span(seconds: int) -> str:
    """For people, exactly: `3 days`, `1 day 30 minutes`."""
    left = timedelta(seconds=seconds)
    parts: list[str] = []
    for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(int(left.total_seconds()), size)
        left = timedelta(seconds=rest)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts) or "0 seconds"
