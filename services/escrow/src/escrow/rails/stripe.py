"""Calls to Stripe, each of which either answers, was certainly not done, or is in doubt.

The SDK never repeats a request: repeats are ours, under the intent's one key, and so visible.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import stripe
from prometheus_client import Counter

from escrow.lifecycle import IntentKind
from escrow.rails import (
    AskAgain,
    BalanceTransaction,
    Chargeback,
    InDoubt,
    ObjectKind,
    OnboardingLink,
    Payment,
    ProviderFee,
    Refund,
    Refused,
    Reversal,
    Seen,
    Transfer,
)
from escrow.rails.budget import Budget
from escrow.settings import Settings
from shared.database import Sessions

RECIPIENT = "configuration.recipient"
_CLOCK_SKEW_SECONDS = 300
_NOT_LOOKED_AT = frozenset({401, 403, 409, 429})
_MADE = {
    IntentKind.FUND: "payment",
    IntentKind.RELEASE: "transfer",
    IntentKind.REFUND: "refund",
    IntentKind.RETURN: "refund",
    IntentKind.REVERSE: "reversal",
    IntentKind.ACCOUNT: "account",
}

calls_total = Counter("stripe_calls_total", "Calls by outcome.", ["call", "outcome"])

Answer = TypeVar("Answer")


class StripeRail:
    """One client a process; close it when the process ends."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self._budget = Budget(sessions)
        logging.getLogger("stripe").setLevel(logging.WARNING)
        self._timeout_seconds = settings.stripe_timeout_seconds
        self._http: Any = stripe.HTTPXClient(timeout=settings.stripe_timeout_seconds)
        client = stripe.StripeClient(
            settings.stripe_api_key.get_secret_value(),
            http_client=self._http,
            max_network_retries=0,
            base_addresses={"api": settings.stripe_api_url} if settings.stripe_api_url else {},
        )
        # Params are frozen JSON, which no generated TypedDict describes.
        self._v1: Any = client.v1
        self._v2: Any = client.v2.core

    async def close(self) -> None:
        await self._http.close_async()

    async def create(self, kind: IntentKind, params: dict[str, Any], idem_key: str) -> str:
        """Make the object of an intent; returns its id. The same key makes it once.

        Raises:
            InDoubt, AskAgain, Refused: as they say.
        """
        creators: dict[IntentKind, Callable[..., Awaitable[Any]]] = {
            IntentKind.FUND: self._v1.payment_intents.create_async,
            IntentKind.RELEASE: self._v1.transfers.create_async,
            IntentKind.REFUND: self._v1.refunds.create_async,
            IntentKind.RETURN: self._v1.refunds.create_async,
            IntentKind.REVERSE: self._reverse,
            IntentKind.ACCOUNT: self._v2.accounts.create_async,
        }
        call = partial(creators[kind], params, {"idempotency_key": idem_key})
        made = await self._ask(f"create_{_MADE[kind]}", call)
        return str(made.id)

    async def _reverse(self, params: dict[str, Any], options: dict[str, Any]) -> Any:
        asked = {name: value for name, value in params.items() if name != "transfer"}
        return await self._v1.transfers.reversals.create_async(params["transfer"], asked, options)

    async def find(
        self, kind: IntentKind, intent_id: UUID, params: dict[str, Any], called_at: datetime
    ) -> str | None:
        """The id of the object whose metadata names this intent, looked for in Stripe's lists.

        The lists are complete at once, which Search is not. Accounts cannot be listed by
        anything we know of them, so they are not looked for.
        """
        match kind:
            case IntentKind.FUND:
                since = int(called_at.timestamp()) - _CLOCK_SKEW_SECONDS
                pages, wanted = self._v1.payment_intents.list_async, {"created": {"gte": since}}
            case IntentKind.RELEASE:
                group = params["transfer_group"]
                pages, wanted = self._v1.transfers.list_async, {"transfer_group": group}
            case IntentKind.REFUND | IntentKind.RETURN:
                paid = params["payment_intent"]
                pages, wanted = self._v1.refunds.list_async, {"payment_intent": paid}
            case IntentKind.REVERSE:
                listed = self._v1.transfers.reversals.list_async
                pages, wanted = partial(listed, params["transfer"]), {}
            case IntentKind.ACCOUNT:
                return None
        async for thing in self._every(f"list_{_MADE[kind]}", pages, wanted):
            if (thing.get("metadata") or {}).get("intent_id") == str(intent_id):
                return str(thing["id"])
        return None

    async def events(self, since: datetime | None) -> list[dict[str, Any]]:
        """What Stripe has told, or tried to, since then; at most the last 30 days."""
        wanted = {} if since is None else {"created": {"gte": int(since.timestamp())}}
        listed = self._every("list_event", self._v1.events.list_async, wanted)
        return [event async for event in listed]

    async def balance_transactions(self, since: datetime | None) -> list[BalanceTransaction]:
        """Every movement of our balance that Stripe has booked since then."""
        wanted: dict[str, Any] = {"expand": ["data.source"]}
        if since is not None:
            wanted["created"] = {"gte": int(since.timestamp())}
        pages = self._v1.balance_transactions.list_async
        listed = self._every("list_balance_transaction", pages, wanted)
        return [BalanceTransaction.model_validate(thing) async for thing in listed]

    async def _every(
        self, name: str, pages: Callable[..., Awaitable[Any]], wanted: dict[str, Any]
    ) -> AsyncIterator[dict[str, Any]]:
        after: dict[str, Any] = {}
        while True:
            call = partial(pages, {**wanted, "limit": 100, **after})
            page = _plain(await self._ask(name, call))
            for thing in page["data"]:
                yield thing
            if not page["has_more"]:
                return
            after = {"starting_after": page["data"][-1]["id"]}

    async def look(self, kind: ObjectKind, object_id: str, transfer_id: str | None = None) -> Seen:
        """The object as it is now.

        Raises:
            InDoubt, AskAgain: ask later.
            Refused: there is no such object.
        """
        match kind:
            case ObjectKind.CHARGEBACK:
                raise AssertionError("Chargebacks are looked at by `chargeback`.")
            case ObjectKind.PAYMENT:
                return await self.payment(object_id)
            case ObjectKind.REVERSAL:
                reversals = self._v1.transfers.reversals
                reversal = partial(reversals.retrieve_async, transfer_id, object_id)
                return Reversal.model_validate(_plain(await self._ask("get_reversal", reversal)))
            case ObjectKind.TRANSFER:
                transfer = partial(self._v1.transfers.retrieve_async, object_id)
                return Transfer.model_validate(_plain(await self._ask("get_transfer", transfer)))
            case ObjectKind.REFUND:
                refund = partial(self._v1.refunds.retrieve_async, object_id)
                return Refund.model_validate(_plain(await self._ask("get_refund", refund)))

    async def chargeback(self, dispute_id: str) -> Chargeback:
        call = partial(self._v1.disputes.retrieve_async, dispute_id)
        return Chargeback.model_validate(_plain(await self._ask("get_dispute", call)))

    async def payment(self, payment_intent_id: str) -> Payment:
        call = partial(self._v1.payment_intents.retrieve_async, payment_intent_id)
        return Payment.model_validate(_plain(await self._ask("get_payment", call)))

    async def client_secret(self, payment_intent_id: str) -> str:
        """What the buyer's browser pays with; it is handed on and never kept."""
        call = partial(self._v1.payment_intents.retrieve_async, payment_intent_id)
        return str((await self._ask("get_payment", call)).client_secret)

    async def cancel_payment(self, payment_intent_id: str) -> None:
        """Ask that it can no longer be paid; look at it afterwards to see what it has become.

        Cancelling twice does no more than once, and a key would only replay an old refusal.
        """
        call = partial(
            self._v1.payment_intents.cancel_async,
            payment_intent_id,
            {"cancellation_reason": "abandoned"},
        )
        await self._ask("cancel_payment", call)

    async def provider_fee(self, charge_id: str) -> ProviderFee | None:
        """What Stripe kept of a charge; None while it has not been worked out."""
        expanded = {"expand": ["balance_transaction"]}
        call = partial(self._v1.charges.retrieve_async, charge_id, expanded)
        balance = _plain(await self._ask("get_charge", call)).get("balance_transaction")
        if not isinstance(balance, dict):
            return None
        return ProviderFee(
            reference=balance["id"], amount=balance["fee"], currency=balance["currency"]
        )

    async def is_payable(self, account_id: str) -> bool:
        """Whether transfers to this account would arrive."""
        call = partial(self._v2.accounts.retrieve_async, account_id, {"include": [RECIPIENT]})
        found = _plain(await self._ask("get_account", call))
        place: Any = found.get("configuration") or {}
        for name in ("recipient", "capabilities", "stripe_balance", "stripe_transfers"):
            place = place.get(name) or {}
        return bool(place.get("status") == "active")

    async def onboarding_link(self, account_id: str, back_url: str) -> OnboardingLink:
        """A page of Stripe's on which the seller makes the account payable; it soon expires."""
        call = partial(
            self._v2.account_links.create_async,
            {
                "account": account_id,
                "use_case": {
                    "type": "account_onboarding",
                    "account_onboarding": {
                        "refresh_url": back_url,
                        "return_url": back_url,
                    },
                },
            },
        )
        return OnboardingLink.model_validate(_plain(await self._ask("create_account_link", call)))

    async def _ask(self, name: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        await self._budget.take(name)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await call()
        except (TimeoutError, stripe.StripeError) as error:
            meaning = _meaning(error)
            calls_total.labels(name, type(meaning).__name__).inc()
            raise meaning from None  # the SDK's dozen frames say no more than the code does
        calls_total.labels(name, "done").inc()
        return answer


def _meaning(error: Exception) -> Exception:
    """What a failed call says about its effect."""
    if not isinstance(error, stripe.StripeError):
        return InDoubt("no answer in time")
    status = error.http_status
    code = error.code or getattr(error.error, "code", None) or type(error).__name__
    if status in _NOT_LOOKED_AT:
        return AskAgain(f"{status}: {code}")
    # A key used with other parameters is a mistake of ours: what it did must be looked up.
    if status is None or status >= 500 or isinstance(error, stripe.IdempotencyError):
        return InDoubt(f"{status or 'no answer'}: {code}")
    return Refused(str(code), str(error.user_message or error))


def _plain(thing: Any) -> dict[str, Any]:
    return dict(thing.to_dict())
