"""A trade that never was, to see a template on."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from contracts.documents.inputs import Draft
from shared.events.cards import Deal, GameSnapshot, KycTier, PartyCard, TradeTerms
from shared.money import Currency, Rail

_DAY = 86_400
_ACCEPTED_AT = datetime(2030, 1, 15, 12, tzinfo=UTC)
_NOBODY = UUID(int=0)


def _party(name: str, roblox_id: str) -> PartyCard:
    return PartyCard(
        user_id=_NOBODY,
        name=name,
        roblox_id=roblox_id,
        roblox_name=name.lower().replace(" ", "_"),
        discord_id=f"10000000000000000{roblox_id}",
        discord_name=name.lower().replace(" ", "."),
        kyc_tier=KycTier.TIER_1,
    )


def draft(template_version: str) -> Draft:
    """Always the same trade, so that two previews differ only by their words."""
    return Draft(
        contract_id=_NOBODY,
        root_offer_id=_NOBODY,
        deal=Deal(
            listing_id=_NOBODY,
            offer_id=_NOBODY,
            amount=450_000,
            currency=Currency.USD,
            conditions="This is a sample. It was concluded by nobody and binds nobody.",
            terms=TradeTerms(
                fee_basis_points=250,
                fee=11_250,
                rail=Rail.STRIPE,
                sign_within_seconds=3 * _DAY,
                pay_within_seconds=3 * _DAY,
                deliver_within_seconds=14 * _DAY,
                auto_release_seconds=7 * _DAY,
                reclaim_after_seconds=180 * _DAY,
            ),
            seller=_party("Sample Seller", "1"),
            buyer=_party("Sample Buyer", "2"),
            game=GameSnapshot(
                game_id="1",
                game_name="Sample Game",
                player_count=120,
                visits=1_234_567,
                created_date=datetime(2025, 5, 3, tzinfo=UTC),
                creator_id="1",
                creator_type="User",
                creator_name="sample_seller",
                taken_at=_ACCEPTED_AT,
            ),
            accepted_at=_ACCEPTED_AT,
        ),
        sign_by=_ACCEPTED_AT + timedelta(days=3),
        template_version=template_version,
    )
