"""Connected accounts, transfers to them out of a charge, and reversals."""

from datetime import UTC, datetime
from typing import Any

from simulators.state import Record, make_id
from simulators.stripe.wire import StripeRefused, merge_metadata
from simulators.stripe.world import PLATFORM, StripeWorld, amount_of, currency_of

LINK_SECONDS = 600
_INCLUDABLE = ("identity", "requirements", "defaults")


class Connect:
    def __init__(self, world: StripeWorld, base: str) -> None:
        self._world = world
        self._base = base

    def open_account(self, params: dict[str, Any]) -> Record:
        """A recipient who cannot receive anything before the onboarding."""
        account = {
            "id": make_id("acct"),
            "object": "account",
            "created": self._world.now(),
            "is_active": False,
            "configurations": sorted(params.get("configuration", {})),
            "contact_email": params.get("contact_email"),
            "country": params.get("identity", {}).get("country", "us"),
            "display_name": params.get("display_name"),
            "dashboard": params.get("dashboard", "none"),
            "responsibilities": params.get("defaults", {}).get("responsibilities", {}),
            "metadata": merge_metadata({}, params.get("metadata")),
        }
        return self._world.put(account)

    def show_v2(self, account: Record, include: list[str]) -> Record:
        """As v2 answers: parts of it only when they are asked for."""
        status = "active" if account["is_active"] else "restricted"
        why = {"code": "requirements_past_due", "resolution": "provide_info"}
        transfers = {"status": status, "status_details": [] if account["is_active"] else [why]}
        recipient = {
            "applied": True,
            "capabilities": {"stripe_balance": {"stripe_transfers": transfers}},
        }
        responsibilities = {"requirements_collector": "stripe"} | account["responsibilities"]
        parts = {
            "identity": {"country": account["country"]},
            "requirements": {"entries": []},
            "defaults": {"currency": "usd", "responsibilities": responsibilities},
        }
        asked = {part: parts[part] if part in include else None for part in _INCLUDABLE}
        is_asked = "configuration.recipient" in include and "recipient" in account["configurations"]
        return {
            "id": account["id"],
            "object": "v2.core.account",
            "applied_configurations": account["configurations"],
            "closed": False,
            "configuration": {"recipient": recipient} if is_asked else None,
            "contact_email": account["contact_email"],
            "created": _moment(account["created"]),
            "dashboard": account["dashboard"],
            "display_name": account["display_name"],
            "livemode": False,
            "metadata": account["metadata"],
            **asked,
        }

    @staticmethod
    def show_v1(account: Record) -> Record:
        """The same account as v1 shows it."""
        is_active = account["is_active"]
        due = [] if is_active else ["individual.verification.document"]
        requirements = {
            "alternatives": [],
            "current_deadline": None,
            "currently_due": due,
            "disabled_reason": None if is_active else "requirements.past_due",
            "errors": [],
            "eventually_due": due,
            "past_due": due,
            "pending_verification": [],
        }
        return {
            "id": account["id"],
            "object": "account",
            "business_type": None,
            "capabilities": {"transfers": "active" if is_active else "inactive"},
            "charges_enabled": False,
            "country": account["country"].upper(),
            "created": account["created"],
            "default_currency": "usd",
            "details_submitted": is_active,
            "email": account["contact_email"],
            "metadata": account["metadata"],
            "payouts_enabled": is_active,
            "requirements": requirements,
            "type": "express" if account["dashboard"] == "express" else "none",
        }

    def link(self, params: dict[str, Any]) -> Record:
        account = self._world.get("account", params["account"], "account")
        now = self._world.now()
        token = make_id("link")
        back = params["use_case"].get("account_onboarding", {}).get("return_url")
        self._world.part.put(
            "link",
            token,
            {"account": account["id"], "expires_at": now + LINK_SECONDS, "return_url": back},
        )
        return {
            "object": "v2.core.account_link",
            "account": account["id"],
            "created": _moment(now),
            "expires_at": _moment(now + LINK_SECONDS),
            "livemode": False,
            "url": f"{self._base}/onboarding/{token}",
            "use_case": params["use_case"],
        }

    def onboard(self, token: str) -> Record | None:
        """Looking at the hosted page is all this seller has to do; None for a link that is over."""
        link = self._world.part.get("link", token)
        if link is None or link["expires_at"] <= self._world.now():
            return None
        account = self._world.get("account", link["account"])
        self._world.put(account | {"is_active": True})
        return link

    def transfer(self, params: dict[str, Any]) -> Record:
        """Pay a connected account.

        Raises:
            StripeRefused: it cannot receive, or there is not so much to pay out.
        """
        amount, currency = amount_of(params), currency_of(params)
        account = self._receiver(params["destination"])
        group, available_on = params.get("transfer_group"), self._world.now()
        source = params.get("source_transaction")
        if source is None:
            if self._world.available(PLATFORM, currency) < amount:
                raise StripeRefused(
                    400,
                    "You have insufficient available funds in your Stripe account.",
                    code="balance_insufficient",
                )
        else:
            charge = self._source(source, amount, currency)
            group = group or charge["transfer_group"] or f"group_{charge['payment_intent']}"
            pending = self._world.get("balance_transaction", charge["balance_transaction"])
            available_on = max(available_on, pending["available_on"])
        transfer = self._world.new(
            "tr",
            "transfer",
            amount=amount,
            amount_reversed=0,
            balance_transaction=None,
            currency=currency,
            description=params.get("description"),
            destination=account["id"],
            destination_payment=make_id("py"),
            livemode=False,
            metadata=merge_metadata({}, params.get("metadata")),
            reversed=False,
            source_transaction=source,
            source_type="card",
            transfer_group=group,
        )
        url = f"/v1/transfers/{transfer['id']}/reversals"
        transfer["reversals"] = {"object": "list", "data": [], "has_more": False, "url": url}
        transfer["balance_transaction"] = self._world.move(
            "transfer",
            transfer,
            {PLATFORM: -amount, account["id"]: amount},
            available_on=available_on,
        )
        self._world.put(transfer)
        self._world.tell("transfer.created", transfer)
        return transfer

    def _receiver(self, account_id: str) -> Record:
        account = self._world.part.get("account", account_id)
        if account is None:
            raise StripeRefused(
                400,
                f"No such destination: '{account_id}'",
                code="resource_missing",
                param="destination",
            )
        if not account["is_active"] or "recipient" not in account["configurations"]:
            raise StripeRefused(
                400,
                "Your destination account needs to have at least one of the following "
                "capabilities enabled: transfers, crypto_transfers, legacy_payments",
                code="insufficient_capabilities_for_transfer",
            )
        return account

    def _source(self, charge_id: str, amount: int, currency: str) -> Record:
        """The charge, which must still have so much to give; refunds do not lessen that."""
        charge = self._world.get("charge", charge_id, "source_transaction")
        if charge["status"] != "succeeded":
            raise StripeRefused(
                400, "The source transaction has not succeeded.", param="source_transaction"
            )
        if charge["currency"] != currency:
            raise StripeRefused(
                400,
                f"The currency of source_transaction's balance transaction "
                f"({charge['currency']}) must be the same as the transfer currency ({currency})",
                param="currency",
            )
        sent = sum(
            transfer["amount"]
            for transfer in self._world.all("transfer")
            if transfer["source_transaction"] == charge_id
        )
        if sent + amount > charge["amount"]:
            raise StripeRefused(
                400,
                f"Cannot use {charge_id} as a source_transaction: transfers of "
                f"{sent + amount} exceed its amount of {charge['amount']}.",
                param="source_transaction",
            )
        return charge

    def reverse(self, transfer: Record, params: dict[str, Any]) -> Record:
        """Take (part of) a transfer back, while the connected account still has it.

        Raises:
            StripeRefused: it has not, or there is not so much left to reverse.
        """
        left = transfer["amount"] - transfer["amount_reversed"]
        amount = amount_of(params) if "amount" in params else left
        if amount > left or left == 0:
            raise StripeRefused(
                400,
                f"Transfer reversal amount ({amount}) is greater than unreversed amount on "
                f"transfer ({left}).",
                param="amount",
            )
        if self._world.available(transfer["destination"], transfer["currency"]) < amount:
            raise StripeRefused(
                400,
                "Insufficient funds in the connected account to reverse the transfer.",
                code="balance_insufficient",
            )
        reversal = self._world.new(
            "trr",
            "transfer_reversal",
            amount=amount,
            balance_transaction=None,
            currency=transfer["currency"],
            destination_payment_refund=make_id("pyr"),
            metadata=merge_metadata({}, params.get("metadata")),
            source_refund=None,
            transfer=transfer["id"],
        )
        reversal["balance_transaction"] = self._world.move(
            "transfer_refund", reversal, {PLATFORM: amount, transfer["destination"]: -amount}
        )
        transfer["amount_reversed"] += amount
        transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
        transfer["reversals"]["data"].insert(0, reversal)
        self._world.put(reversal)
        self._world.put(transfer)
        self._world.tell("transfer.reversed", transfer)
        return reversal


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
