"""What both sides of a trade and staff do, whatever comes of it; a refusal changes nothing."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID, uuid4

import httpx
import sqlalchemy as sa

from escrow.use_cases import opening, silence
from shared.events.cards import KycTier
from shared.events.identity import (
    AssetTransferObserved,
    AssetVerificationFailed,
    AssetVerified,
    UserUpdated,
)

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Desk, Trade

T = TypeVar("T")
WORDS = {"title": "Not what was sold", "description": "The map is missing."}

ANSWERS = frozenset({200, 202, 403, 404, 409, 422, 503})

ROWS = sa.text("""
SELECT md5(coalesce(string_agg(line, ' ' ORDER BY line), '')) FROM (
    SELECT e::text AS line FROM escrows e WHERE id = :escrow
    UNION ALL SELECT m::text FROM milestone_escrows m WHERE escrow_id = :escrow
    UNION ALL SELECT p::text FROM milestone_plans p WHERE escrow_id = :escrow
    UNION ALL SELECT i::text FROM intents i WHERE escrow_id = :escrow
    UNION ALL SELECT d::text FROM deliveries d WHERE escrow_id = :escrow
    UNION ALL SELECT d::text FROM disputes d WHERE escrow_id = :escrow
    UNION ALL SELECT d::text FROM dispute_evidence d
        WHERE dispute_id IN (SELECT id FROM disputes WHERE escrow_id = :escrow)
    UNION ALL SELECT h::text FROM holds h WHERE escrow_id = :escrow
    UNION ALL SELECT d::text FROM deadlines d WHERE aggregate_id = :escrow
        OR aggregate_id IN (SELECT id FROM milestone_escrows WHERE escrow_id = :escrow)
    UNION ALL SELECT l::text FROM ledger_entries l WHERE escrow_id = :escrow
    UNION ALL SELECT job_key FROM jobs
    WHERE kind NOT IN ('stripe.look', 'stripe.sweep', 'stripe.reconcile')
    UNION ALL SELECT event_id::text FROM outbox WHERE aggregate_id = CAST(:escrow AS text)
    UNION ALL SELECT id::text FROM audit_logs WHERE subject_id = CAST(:escrow AS text)
) AS rows
""")


class Hands(Protocol):
    """How the work of escrow's worker is done, and how it is cut off."""

    is_alone: bool
    """Nothing happens while a command is answered."""

    async def open(self, trade: "Trade") -> UUID: ...

    async def work(self) -> None: ...

    async def cut_the_power(self, chance: Random) -> None: ...


@dataclass(frozen=True)
class Played:
    """A trade, and which of its milestones the step is about, if it is divided."""

    trade: "Trade"
    escrow_id: UUID
    amount: int
    milestone_id: UUID | None = None
    place: str = ""
    """Where commands about the milestone go, below the escrow's path."""


class People:
    """One method for each thing that people do to one of the trades."""

    def __init__(self, desk: "Desk", hands: Hands) -> None:
        self.desk = desk
        self.hands = hands
        self.chance = Random(0)  # noqa: S311 - repeatable
        self.ahead = timedelta(0)
        self.played: list[Played] = []
        self.told: list[str] = []
        """What has happened, for whoever reads of a failure."""
        self.heard: set[str] = set()
        self._versions = 0

    def choose(self, options: Sequence[T]) -> T:
        return self.chance.choice(options)

    async def _find(self, query: str, **values: Any) -> Sequence[Any]:
        async with self.desk.database.sessions() as session:
            return (await session.execute(sa.text(query), values)).all()

    async def rows(self, escrow_id: UUID) -> str:
        """A digest of everything that is kept of an escrow."""
        async with self.desk.database.sessions() as session:
            return str(await session.scalar(ROWS, {"escrow": escrow_id}))

    async def _ask(
        self, one: Played, user_id: UUID, path: str, body: Any = None, **claims: Any
    ) -> httpx.Response:
        """Say something to the service; a refusal changes nothing."""
        before = await self.rows(one.escrow_id)
        path = f"/v1/escrows/{one.escrow_id}/{path}"
        answer = await self.desk.post(user_id, path, body, **claims)
        self.told[-1] += f" -> {answer.status_code}"
        assert answer.status_code in ANSWERS, (path, answer.text)
        if answer.is_error and self.hands.is_alone:
            self.told[-1] += f" {answer.json()['type'].rpartition('/')[2]}"
            assert await self.rows(one.escrow_id) == before, (path, answer.text)
        return answer

    async def _staff(self, one: Played, path: str, body: Any = None) -> httpx.Response:
        return await self._ask(one, uuid4(), path, body, roles=["moderator"])

    async def pay(self, one: Played) -> None:
        answer = await self._ask(one, one.trade.buyer_id, "payment")
        if answer.status_code == 200:
            await self._confirm(answer.json()["client_secret"])

    async def pay_declined(self, one: Played) -> None:
        answer = await self._ask(one, one.trade.buyer_id, "payment")
        if answer.status_code == 200:
            await self._confirm(answer.json()["client_secret"], "pm_card_chargeDeclined")

    async def pay_without_asking(self, one: Played) -> None:
        """With the secret that the buyer's browser has kept."""
        for payment in await self._payments(one):
            await self._confirm(payment["client_secret"])

    async def pay_another_amount(self, one: Played) -> None:
        cents = self.choose((-1, 1))
        await self._pay_otherwise(one, amount=one.trade.amount + cents)

    async def pay_in_euro(self, one: Played) -> None:
        await self._pay_otherwise(one, currency="eur")

    async def pay_after_the_end(self, one: Played) -> None:
        """Money that was on its way when Stripe cancelled the payment."""
        for payment in await self._payments(one):
            if payment["status"] == "canceled":
                await self.desk.provider.say(
                    "payment_intent", payment["id"], status="requires_payment_method"
                )
                await self._confirm(payment["client_secret"])

    async def _pay_otherwise(self, one: Played, **otherwise: Any) -> None:
        for payment in await self._payments(one):
            if payment["status"] == "requires_payment_method":
                await self.desk.provider.say("payment_intent", payment["id"], **otherwise)
                await self._confirm(payment["client_secret"])
                return

    async def _payments(self, one: Played) -> list[dict[str, Any]]:
        found = await self.desk.provider.objects("payment_intent")
        return [payment for payment in found if payment["transfer_group"] == str(one.escrow_id)]

    async def _confirm(self, client_secret: str, card: str = "pm_card_visa") -> None:
        """What the buyer's browser does, and what it may do in vain."""
        with suppress(httpx.HTTPError):
            await self.desk.provider.pay(client_secret, card)

    async def propose(self, one: Played) -> None:
        """One side would divide the trade into two or three milestones."""
        first = one.trade.amount // self.choose((3, 7)) + 1
        amounts = self.choose(
            ((first, one.trade.amount - first), (first, first, one.trade.amount - 2 * first))
        )
        plan = [{"title": "A part", "amount": amount} for amount in amounts]
        await self._ask(one, one.trade.seller_id, "milestones", {"milestones": plan})

    async def agree(self, one: Played) -> None:
        await self._ask(one, one.trade.buyer_id, "milestones/accept", {"version": 1})

    async def lose_the_game(self, one: Played) -> None:
        """Identity finds another owner, or the seller again."""
        [(now,)] = await self._find("SELECT clock()")
        self._versions += 1
        check: AssetVerified | AssetVerificationFailed
        check = one.trade.verified(now, 10 + self._versions)
        if self.choose((True, False)):
            check = one.trade.not_verified(now, 10 + self._versions)
        async with self.desk.database.sessions.begin() as session:
            await opening.note_ownership(session, check)

    async def cancel(self, one: Played) -> None:
        await self._ask(one, one.trade.buyer_id, one.place + "cancel")

    async def deliver(self, one: Played) -> None:
        words = {"title": "Game transferred", "description": "To the buyer's group."}
        await self._ask(one, one.trade.seller_id, one.place + "deliver", words)

    async def confirm(self, one: Played) -> None:
        await self._ask(one, one.trade.buyer_id, one.place + "confirm")

    async def see_the_transfer(self, one: Played) -> None:
        seen = AssetTransferObserved(
            version=1,
            escrow_id=one.escrow_id,
            root_offer_id=one.trade.offer_id,
            game_id=one.trade.game_id,
            buyer_id=one.trade.buyer_id,
            creator_id="2002",
            creator_type="User",
            observed_at=one.trade.game.taken_at,
        )
        async with self.desk.database.sessions.begin() as session:
            await silence.note_transfer(session, seen)

    async def refund_by_seller(self, one: Played) -> None:
        await self._ask(
            one, one.trade.seller_id, one.place + "refund", {"reason": "Sold elsewhere."}
        )

    async def refund_by_staff(self, one: Played) -> None:
        await self._staff(one, one.place + "refund", {"reason": "Both have asked for it."})

    async def dispute_by_buyer(self, one: Played) -> None:
        await self._ask(one, one.trade.buyer_id, one.place + "disputes", WORDS)

    async def dispute_by_seller(self, one: Played) -> None:
        await self._ask(one, one.trade.seller_id, one.place + "disputes", WORDS)

    async def reject(self, one: Played) -> None:
        await self._ask(one, one.trade.buyer_id, one.place + "reject", WORDS)

    async def say(self, one: Played) -> None:
        side = self.choose((one.trade.buyer_id, one.trade.seller_id))
        await self._about_dispute(one, side, "evidence", {"statement": "It was not there."})

    async def withdraw_by_buyer(self, one: Played) -> None:
        await self._about_dispute(one, one.trade.buyer_id, "withdraw")

    async def withdraw_by_seller(self, one: Played) -> None:
        await self._about_dispute(one, one.trade.seller_id, "withdraw")

    async def take(self, one: Played) -> None:
        await self._about_dispute(one, uuid4(), "take", roles=["moderator"])

    async def award_seller(self, one: Played) -> None:
        await self._decide(one, {"resolution": "RELEASE"})

    async def award_buyer(self, one: Played) -> None:
        await self._decide(one, {"resolution": "REFUND"})

    async def split(self, one: Played) -> None:
        to_buyer = self.choose((1, one.amount // 3, one.amount - 50, one.amount))
        await self._decide(one, {"resolution": "SPLIT", "to_buyer": to_buyer})

    async def _decide(self, one: Played, decision: dict[str, Any]) -> None:
        body = {"reason": "As agreed.", **decision}
        await self._about_dispute(one, uuid4(), "resolve", body, roles=["moderator"])

    async def _about_dispute(
        self, one: Played, user_id: UUID, verb: str, body: Any = None, **claims: Any
    ) -> None:
        rows = await self._find(
            "SELECT id FROM disputes WHERE escrow_id = :escrow"
            " AND milestone_id IS NOT DISTINCT FROM :milestone ORDER BY id DESC",
            escrow=one.escrow_id,
            milestone=one.milestone_id,
        )
        dispute_id = rows[0].id if rows else uuid4()
        await self._ask(one, user_id, f"disputes/{dispute_id}/{verb}", body, **claims)

    async def hold(self, one: Played) -> None:
        await self._staff(one, "holds", {"kind": "STAFF", "reason": "A question is open."})

    async def lift(self, one: Played) -> None:
        rows = await self._find(
            "SELECT id FROM holds WHERE escrow_id = :escrow AND lifted_at IS NULL ORDER BY id",
            escrow=one.escrow_id,
        )
        if rows:
            hold = rows[self.choose(range(len(rows)))]
            await self._staff(one, f"holds/{hold.id}/lift", {"reason": "Explained."})

    async def onboard(self, one: Played) -> None:
        answer = await self.desk.post(one.trade.seller_id, "/v1/payout-account")
        if answer.status_code == 200:
            await self.desk.provider.http.get(answer.json()["onboarding_url"])
            await self.desk.get(one.trade.seller_id, "/v1/payout-account")

    async def close_the_account(self, one: Played) -> None:
        """Stripe wants more papers of the seller, and tells nobody."""
        for account in await self.desk.provider.objects("account"):
            if account["metadata"]["user_id"] == str(one.trade.seller_id):
                await self.desk.provider.say("account", account["id"], is_active=False)

    async def freeze(self, one: Played) -> None:
        await self._note_user(one, is_frozen=True)

    async def thaw(self, one: Played) -> None:
        await self._note_user(one, is_frozen=False)

    async def _note_user(self, one: Played, *, is_frozen: bool) -> None:
        self._versions += 1
        for user_id in (one.trade.seller_id, one.trade.buyer_id):
            if not is_frozen or self.choose((True, False)):
                event = UserUpdated(
                    version=self._versions,
                    user_id=user_id,
                    name="sasha",
                    kyc_tier=KycTier.TIER_1,
                    is_frozen=is_frozen,
                    roles=[],
                    wallet_risk="UNKNOWN",
                    effective_from=one.trade.game.taken_at,
                )
                async with self.desk.database.sessions.begin() as session:
                    await opening.note_user(session, event)
