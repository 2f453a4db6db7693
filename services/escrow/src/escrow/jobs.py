"""Leased work: every call to Stripe, with no transaction open, under keys that never change."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from escrow import case_repository, part_repository, repository
from escrow.lifecycle import IntentAction, IntentKind, Settling
from escrow.models import JobKind
from escrow.rails import (
    InDoubt,
    ObjectKind,
    Payment,
    Refund,
    Refused,
    Reversal,
    Seen,
    Transfer,
)
from escrow.rails.stripe import StripeRail
from escrow.use_cases import (
    chargebacks,
    hearing,
    intents,
    paying,
    payout_accounts,
    reconciling,
    reversals,
    settling,
)
from shared import clock, crash, jobs, telemetry
from shared.database import Sessions
from shared.jobs import Finish, Job, Postpone, Work

LISTING_EVERY_SECONDS = 60
UNKNOWN_FOR = timedelta(minutes=15)
"""How long a webhook may be ahead of our own knowledge of its object."""
UNKNOWN_EVERY_SECONDS = 60
SOON_SECONDS = 3
FRESH_FOR = timedelta(hours=1)
FRESH_EVERY_SECONDS = 15
OLD_EVERY_SECONDS = 600
HOURLY_SECONDS = 3600
SWEEP_OVERLAP = timedelta(hours=1)
"""How far a sweep reaches back before the one before it: clocks are not exact."""
WITHOUT_END = 2**31 - 1
"""Attempts of work that must go on for ever."""

log = telemetry.get_logger()


async def _nothing(_session: AsyncSession) -> None:
    """There is nothing to write."""


async def _alarm(_session: AsyncSession, job: Job, error: str) -> None:
    """A person must look; the job stays FAILED and shows what it was about."""
    log.error("job.needs_a_person", kind=job.kind, payload=job.payload, error=error)


class StripeJobs:
    """The kinds of work and how each is done."""

    def __init__(self, sessions: Sessions, rail: StripeRail, environment: str) -> None:
        self._sessions = sessions
        self._rail = rail
        self._environment = environment

    def works(self) -> Mapping[str, Work[Job]]:
        done_by = {
            JobKind.CALL: self.call,
            JobKind.WATCH: self.watch,
            JobKind.LOOK: self.look,
            JobKind.CANCEL: self.cancel,
            JobKind.AWAIT_PAYABLE: self.await_payable,
            JobKind.PROVIDER_FEE: self.provider_fee,
            JobKind.SWEEP: self.sweep,
            JobKind.RECONCILE: self.reconcile,
        }
        return {kind.value: Work(perform, _alarm) for kind, perform in done_by.items()}

    async def call(self, job: Job) -> Finish:
        """Make the object of an intent, or find the one that was made."""
        async with self._sessions.begin() as session:
            call = await intents.begin_call(
                session, UUID(job.payload["intent_id"]), self._environment
            )
        crash.point("str.after_intent")
        if not call.is_open:
            return _nothing
        intent = call.intent
        assert intent.idem_key is not None
        assert intent.first_called_at is not None
        if call.was_in_doubt or not call.may_post:
            found = await self._rail.find(
                intent.kind, intent.id, intent.params, intent.first_called_at
            )
            if found is not None:
                return _accept(intent.id, found)
            if not call.may_post:
                return await self._give_up_or_wait(intent.id)
        try:
            object_id = await self._rail.create(intent.kind, intent.params, intent.idem_key)
        except InDoubt as lost:
            async with self._sessions.begin() as session:
                await intents.doubt(session, intent.id, str(lost))
            raise
        except Refused as refusal:
            return _fail(intent.id, intent.kind, refusal)
        crash.point("str.after_call_before_save")
        return _accept(intent.id, object_id)

    async def _give_up_or_wait(self, intent_id: UUID) -> Finish:
        async with self._sessions.begin() as session:
            is_enough = await intents.count_clean_listing(session, intent_id)
        if not is_enough:
            raise Postpone(LISTING_EVERY_SECONDS)

        async def finish(session: AsyncSession) -> None:
            await intents.no_effect(session, intent_id, IntentAction.GIVE_UP, "not_executed")

        return finish

    async def watch(self, job: Job) -> Finish:
        """Look at an object until nothing more will happen to it, so that no webhook is needed."""
        seen = await self._rail.look(
            ObjectKind(job.payload["kind"]), job.payload["object_id"], job.payload.get("transfer")
        )
        finish = await self._observe(job, seen)
        if seen.is_final:
            return finish
        async with self._sessions.begin() as session:
            await finish(session)
        raise Postpone(await self._next_look_seconds(job))

    async def look(self, job: Job) -> Finish:
        """Look at an object once, because a webhook spoke of it."""
        if job.payload["kind"] == ObjectKind.CHARGEBACK:
            return await self._look_at_chargeback(job.payload["object_id"])
        try:
            seen = await self._rail.look(ObjectKind(job.payload["kind"]), job.payload["object_id"])
        except Refused as refusal:
            log.warning("webhook.object_unknown", payload=job.payload, reason=refusal.code)
            return _nothing
        return await self._observe(job, seen)

    async def _look_at_chargeback(self, dispute_id: str) -> Finish:
        seen = await self._rail.chargeback(dispute_id)

        async with self._sessions.begin() as session:
            await chargebacks.observe(session, seen)
        if not seen.is_lost:
            return _nothing

        async def finish(session: AsyncSession) -> None:
            if not await chargebacks.lose(session, seen):
                raise Postpone(SOON_SECONDS)

        return finish

    async def _observe(self, job: Job, seen: Seen) -> Finish:
        """What an object means for the intent it names.

        Raises:
            Postpone: it names none that is known yet.
        """
        intent_id = seen.intent_id
        async with self._sessions() as session:
            intent = None if intent_id is None else await repository.intent(session, intent_id)
            is_new = await clock.now(session) < job.created_at + UNKNOWN_FOR
        if intent_id is None or intent is None or intents.OBJECTS.get(intent.kind) != seen.kind:
            if is_new:
                raise Postpone(UNKNOWN_EVERY_SECONDS)
            log.error("stripe.object_is_not_ours", payload=job.payload)
            return _nothing

        async def finish(session: AsyncSession) -> None:
            match seen:
                case Payment():
                    await paying.observe_payment(session, seen, intent_id)
                case Transfer():
                    await settling.observe_transfer(session, seen, intent_id)
                case Refund():
                    await settling.observe_refund(session, seen, intent_id)
                case Reversal():
                    await reversals.observe(session, seen, intent_id)

        return finish

    async def cancel(self, job: Job) -> Finish:
        """Make sure that an escrow can no longer be paid, then end it."""
        escrow_id = UUID(job.payload["escrow_id"])
        async with self._sessions() as session:
            intent = await paying.open_payment(session, escrow_id)
        if intent is None:
            return _finish_cancel(escrow_id)
        if intent.object_id is None:
            raise Postpone(SOON_SECONDS)
        try:
            await self._rail.cancel_payment(intent.object_id)
        except Refused as refusal:
            # It has been paid or cancelled: what it is now decides.
            log.info("payment.not_cancelled", reason=refusal.code, escrow_id=str(escrow_id))
        seen = await self._rail.payment(intent.object_id)
        async with self._sessions.begin() as session:
            await paying.observe_payment(session, seen, intent.id)
        if seen.status not in {"canceled", "succeeded"}:
            raise Postpone(SOON_SECONDS)
        return _finish_cancel(escrow_id)

    async def await_payable(self, job: Job) -> Finish:
        """Begin a confirmed payout as soon as the seller can be paid."""
        escrow_id, seller_id = UUID(job.payload["escrow_id"]), UUID(job.payload["seller_id"])
        named = job.payload.get("milestone_id")
        milestone_id = None if named is None else UUID(named)
        async with self._sessions() as session:
            part = await part_repository.part(session, escrow_id, milestone_id)
            if part.settling is Settling.REFUND:
                raise Postpone(await self._next_look_seconds(job))
            if not settling.is_waiting(part):
                return _nothing
            account = await payout_accounts.find(session, seller_id)
            is_frozen = await payout_accounts.is_frozen(session, seller_id)
        account_id = account.account_id if account is not None else None
        if account_id is None or is_frozen or not await self._rail.is_payable(account_id):
            raise Postpone(await self._next_look_seconds(job))
        again_seconds = await self._next_look_seconds(job)

        async def finish(session: AsyncSession) -> None:
            await repository.lock(session, escrow_id)
            if await case_repository.is_held(session, escrow_id):
                raise Postpone(again_seconds)
            await payout_accounts.note_payable(session, seller_id, is_payable=True)
            await settling.release_if_payable(session, escrow_id, milestone_id)

        return finish

    async def provider_fee(self, job: Job) -> Finish:
        """Post what Stripe kept of a payment, once Stripe has worked it out."""
        fee = await self._rail.provider_fee(job.payload["charge_id"])
        if fee is None:
            raise Postpone(await self._next_look_seconds(job))

        async def finish(session: AsyncSession) -> None:
            await paying.post_provider_fee(session, UUID(job.payload["escrow_id"]), fee)

        return finish

    async def sweep(self, job: Job) -> Finish:
        """Hear of what Stripe has told without reaching us, then do so again in an hour."""
        since = job.payload.get("since")
        async with self._sessions() as session:
            now = await clock.now(session)
        events = await self._rail.events(None if since is None else datetime.fromisoformat(since))

        async def finish(session: AsyncSession) -> None:
            await hearing.catch_up(session, events)
            await _again_hourly(
                session, JobKind.SWEEP, now, {"since": (now - SWEEP_OVERLAP).isoformat()}
            )

        return finish

    async def reconcile(self, _job: Job) -> Finish:
        """Compare the ledger with Stripe's own books, then do so again in an hour."""
        async with self._sessions() as session:
            now = await clock.now(session)
            since = await reconciling.since(session)
        lines = await self._rail.balance_transactions(since)

        async def finish(session: AsyncSession) -> None:
            await reconciling.compare(session, lines)
            await _again_hourly(session, JobKind.RECONCILE, now, {})

        return finish

    async def _next_look_seconds(self, job: Job) -> float:
        async with self._sessions() as session:
            is_fresh = await clock.now(session) < job.created_at + FRESH_FOR
        return FRESH_EVERY_SECONDS if is_fresh else OLD_EVERY_SECONDS


async def _again_hourly(
    session: AsyncSession, kind: JobKind, now: datetime, payload: dict[str, str]
) -> None:
    """The next run is asked for by the run before it, so there is always exactly one."""
    await jobs.enqueue(
        session,
        kind,
        f"{kind.value}:{now.isoformat()}",
        payload,
        max_attempts=WITHOUT_END,
        delay_seconds=HOURLY_SECONDS,
    )


def _accept(intent_id: UUID, object_id: str) -> Finish:
    async def finish(session: AsyncSession) -> None:
        await intents.accept(session, intent_id, object_id)

    return finish


def _fail(intent_id: UUID, kind: IntentKind, refusal: Refused) -> Finish:
    async def finish(session: AsyncSession) -> None:
        intent = await intents.no_effect(
            session, intent_id, IntentAction.FAIL, refusal.code, said=str(refusal)
        )
        if kind is IntentKind.RELEASE and refusal.code in settling.NOT_PAYABLE:
            assert intent.escrow_id is not None
            escrow = await repository.lock(session, intent.escrow_id)
            await payout_accounts.note_payable(session, escrow.seller_id, is_payable=False)
            part = await part_repository.part(session, escrow.id, intent.milestone_id)
            await settling.await_payable(session, part)

    return finish


def _finish_cancel(escrow_id: UUID) -> Finish:
    async def finish(session: AsyncSession) -> None:
        await paying.finish_cancel(session, escrow_id)

    return finish
