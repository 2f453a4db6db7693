"""One platform account's objects, the events that tell of them, and every cent between accounts.

Each movement of money is a set of entries that sums to zero; balances are sums of entries.
"""

import json
from typing import Any

from simulators.state import Part, Record, make_id
from simulators.stripe.wire import API_VERSION, StripeRefused, missing

PLATFORM = "platform"
CARDS, FEES, TREASURY = "outside:cards", "outside:stripe_fees", "outside:treasury"
PENDING_SECONDS = 2 * 24 * 3600
"""How long the money of a card payment is pending."""
_KIND_OF = {
    "pi": "payment_intent",
    "ch": "charge",
    "re": "refund",
    "tr": "transfer",
    "trr": "transfer_reversal",
    "txn": "balance_transaction",
    "du": "dispute",
}


class StripeWorld:
    """Whoever changes an object also puts it and tells of it."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.request: dict[str, str | None] = {"id": None, "idempotency_key": None}
        """The request that is being answered; events name it."""

    def now(self) -> int:
        return self.part.now()

    def all(self, kind: str) -> list[Record]:
        return self.part.all(kind)

    def get(self, kind: str, object_id: str, param: str = "id") -> Record:
        found = self.part.get(kind, object_id)
        if found is None:
            raise missing(kind, object_id, param)
        return found

    def find(self, object_id: str) -> Record | None:
        """Any object by its id alone."""
        kind = _KIND_OF.get(object_id.partition("_")[0])
        return self.part.get(kind, object_id) if kind else None

    def put(self, thing: Record) -> Record:
        return self.part.put(thing["object"], thing["id"], thing)

    def new(self, prefix: str, kind: str, **fields: Any) -> Record:
        return {"id": make_id(prefix), "object": kind, "created": self.now(), **fields}

    def tell(self, event_type: str, thing: Record) -> None:
        """Record an event; the webhook sender delivers it."""
        event = self.new(
            "evt",
            "event",
            api_version=API_VERSION,
            data={"object": json.loads(json.dumps(thing))},
            livemode=False,
            pending_webhooks=1,
            request=dict(self.request),
            type=event_type,
        )
        self.put(event)
        self.part.put(
            "delivery",
            event["id"],
            {"event": event["id"], "type": event_type, "tries": 0, "due_at": 0, "done": False},
        )

    def move(
        self,
        kind: str,
        source: Record,
        legs: dict[str, int],
        *,
        available_on: int | None = None,
        fee: int = 0,
    ) -> str:
        """Move money: cents by account, summing to zero.

        Returns the id of the platform's own balance transaction.
        """
        if sum(legs.values()) != 0:
            raise AssertionError(f"{kind}: {legs} does not sum to zero")
        moment = self.now() if available_on is None else available_on
        own = ""
        for account, amount in legs.items():
            entry_id = make_id("entry")
            self.part.put(
                "entry",
                entry_id,
                {
                    "account": account,
                    "amount": amount,
                    "currency": source["currency"],
                    "cause": kind,
                    "source": source["id"],
                    "available_on": moment,
                },
            )
            if not account.startswith("outside:"):
                transaction = self._transaction(kind, source, amount, moment, fee, account)
                own = transaction["id"] if account == PLATFORM else own
                fee = 0
        return own

    def _transaction(
        self, kind: str, source: Record, net: int, available_on: int, fee: int, account: str
    ) -> Record:
        details = {
            "amount": fee,
            "application": None,
            "currency": source["currency"],
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
        transaction = self.new(
            "txn",
            "balance_transaction",
            amount=net + fee,
            available_on=available_on,
            balance_type="payments",
            currency=source["currency"],
            description=None,
            exchange_rate=None,
            fee=fee,
            fee_details=[details] if fee else [],
            net=net,
            reporting_category="dispute" if kind == "adjustment" else kind,
            source=source["id"],
            type=kind if account == PLATFORM or kind != "transfer" else "payment",
        )
        self.part.put("owner", transaction["id"], {"account": account})
        return self.put(transaction)

    def transactions(self, account: str) -> list[Record]:
        owners = self.part.by_id("owner")
        return [
            self.seen(transaction)
            for transaction in self.all("balance_transaction")
            if owners[transaction["id"]]["account"] == account
        ]

    def seen(self, thing: Record) -> Record:
        """The object with what depends on the time."""
        if thing["object"] != "balance_transaction":
            return thing
        is_due = thing["available_on"] <= self.now()
        return {**thing, "status": "available" if is_due else "pending"}

    def available(self, account: str, currency: str) -> int:
        """Cents that the account could send away now."""
        return sum(
            entry["amount"]
            for entry in self.all("entry")
            if (entry["account"], entry["currency"]) == (account, currency)
            and (entry["available_on"] <= self.now() or entry["amount"] < 0)
        )

    def balance(self, account: str) -> Record:
        """As `GET /v1/balance` shows it."""
        sums: dict[str, list[int]] = {"usd": [0, 0]}
        for entry in self.all("entry"):
            if entry["account"] == account:
                is_pending = entry["available_on"] > self.now()
                sums.setdefault(entry["currency"], [0, 0])[is_pending] += entry["amount"]

        def column(index: int) -> list[Record]:
            return [
                {
                    "amount": both[index],
                    "currency": currency,
                    "source_types": {"card": both[index]},
                }
                for currency, both in sums.items()
            ]

        return {
            "object": "balance",
            "available": column(0),
            "livemode": False,
            "pending": column(1),
        } | ({"connect_reserved": column_of_zero(sums)} if account == PLATFORM else {})

    def set_available(self, account: str, currency: str, amount: int) -> None:
        """Have the account's available balance be this."""
        change = amount - self.available(account, currency)
        source = {"id": make_id("tu"), "currency": currency}
        self.move("topup", source, {account: change, TREASURY: -change})


def column_of_zero(sums: dict[str, list[int]]) -> list[Record]:
    return [{"amount": 0, "currency": currency} for currency in sums]


def amount_of(params: dict[str, Any], *, least: int = 1) -> int:
    """The amount in cents.

    Raises:
        StripeRefused: it is missing, or not between the least and $999,999.99.
    """
    if "amount" not in params:
        raise StripeRefused(
            400, "Missing required param: amount.", code="parameter_missing", param="amount"
        )
    amount: int = params["amount"]
    if amount < least:
        code = "parameter_invalid_integer" if amount < 1 else "amount_too_small"
        raise StripeRefused(400, f"Amount must be at least {least}.", code=code, param="amount")
    if amount > 99_999_999:
        raise StripeRefused(
            400, "Amount must be no more than $999,999.99.", code="amount_too_large", param="amount"
        )
    return amount


def currency_of(params: dict[str, Any]) -> str:
    """The currency in lower case.

    Raises:
        StripeRefused: it is none that this account takes.
    """
    currency = str(params["currency"]).lower()
    if currency not in {"usd", "eur", "gbp"}:
        raise StripeRefused(400, f"Invalid currency: {currency}.", param="currency")
    return currency
