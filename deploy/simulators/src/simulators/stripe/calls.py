"""All calls that are simulated."""

from typing import Literal

import stripe.params as v1
import stripe.params.v2.core as v2

from simulators.state import Record
from simulators.stripe.connect import Connect
from simulators.stripe.endpoints import (
    PAGE,
    Call,
    Endpoint,
    fits,
    listing,
    retrieve,
    update,
)
from simulators.stripe.payments import Payments
from simulators.stripe.refunds import refund
from simulators.stripe.wire import StripeRefused, is_within, page
from simulators.stripe.world import StripeWorld

_BROWSER = {
    "payment_method_data.type": Literal["card"],
    "payment_method_data.card": dict[str, str],
    "client_secret": str,
}


def endpoints(world: StripeWorld, payments: Payments, connect: Connect) -> list[Endpoint]:
    return [
        *_payments(world, payments),
        *_refunds_and_charges(world),
        *_transfers(world, connect),
        *_accounts(world, connect),
        *_money_and_news(world),
    ]


def _payments(world: StripeWorld, payments: Payments) -> list[Endpoint]:
    def intent(call: Call) -> Record:
        return world.get("payment_intent", call.id)

    path = "/v1/payment_intents"
    how = "payment_method payment_method_data return_url"
    return [
        Endpoint(
            "POST",
            path,
            v1.PaymentIntentCreateParams,
            lambda call: payments.open(call.params),
            "amount currency metadata description transfer_group receipt_email confirm expand "
            "automatic_payment_methods allowed_payment_method_types "
            f"payment_method_options statement_descriptor_suffix {how}",
        ),
        Endpoint(
            "POST",
            f"{path}/{{id}}/confirm",
            v1.PaymentIntentConfirmParams,
            lambda call: payments.confirm(intent(call), call.params),
            f"{how} payment_method_options client_secret expand",
            also=_BROWSER,
            for_browsers=True,
        ),
        Endpoint(
            "POST",
            f"{path}/{{id}}/cancel",
            v1.PaymentIntentCancelParams,
            lambda call: payments.cancel(intent(call), call.params.get("cancellation_reason")),
            "cancellation_reason expand",
        ),
        update(world, path, "payment_intent", v1.PaymentIntentUpdateParams),
        Endpoint(
            "GET",
            f"{path}/{{id}}",
            v1.PaymentIntentRetrieveParams,
            intent,
            "expand client_secret",
            for_browsers=True,
        ),
        listing(world, path, "payment_intent", v1.PaymentIntentListParams, "created"),
    ]


def _refunds_and_charges(world: StripeWorld) -> list[Endpoint]:
    return [
        Endpoint(
            "POST",
            "/v1/refunds",
            v1.RefundCreateParams,
            lambda call: refund(world, call.params),
            "amount charge payment_intent reason metadata expand",
        ),
        update(world, "/v1/refunds", "refund", v1.RefundUpdateParams),
        retrieve(world, "/v1/refunds", "refund", v1.RefundRetrieveParams),
        listing(
            world, "/v1/refunds", "refund", v1.RefundListParams, "charge payment_intent created"
        ),
        update(world, "/v1/charges", "charge", v1.ChargeUpdateParams),
        retrieve(world, "/v1/charges", "charge", v1.ChargeRetrieveParams),
        listing(
            world,
            "/v1/charges",
            "charge",
            v1.ChargeListParams,
            "payment_intent transfer_group created",
        ),
        retrieve(world, "/v1/disputes", "dispute", v1.DisputeRetrieveParams),
        listing(
            world, "/v1/disputes", "dispute", v1.DisputeListParams, "charge payment_intent created"
        ),
    ]


def _transfers(world: StripeWorld, connect: Connect) -> list[Endpoint]:
    path = "/v1/transfers"

    def reversals(call: Call) -> list[Record]:
        return [r for r in world.all("transfer_reversal") if r["transfer"] == call.id]

    def one_reversal(call: Call) -> Record:
        found = world.get("transfer_reversal", call.path["reversal"])
        if found["transfer"] != call.id:
            raise StripeRefused(404, "No such reversal.", code="resource_missing", param="id")
        return found

    def list_reversals(call: Call) -> Record:
        world.get("transfer", call.id)
        return page(reversals(call)[::-1], call.params, f"{path}/{call.id}/reversals")

    return [
        Endpoint(
            "POST",
            path,
            v1.TransferCreateParams,
            lambda call: connect.transfer(call.params),
            "amount currency destination source_transaction transfer_group description metadata "
            "expand",
        ),
        update(world, path, "transfer", v1.TransferUpdateParams),
        retrieve(world, path, "transfer", v1.TransferRetrieveParams),
        listing(
            world, path, "transfer", v1.TransferListParams, "destination transfer_group created"
        ),
        Endpoint(
            "POST",
            f"{path}/{{id}}/reversals",
            v1.TransferReversalCreateParams,
            lambda call: connect.reverse(world.get("transfer", call.id), call.params),
            "amount metadata expand",
        ),
        Endpoint(
            "GET",
            f"{path}/{{id}}/reversals",
            v1.TransferReversalListParams,
            list_reversals,
            PAGE,
        ),
        Endpoint(
            "GET",
            f"{path}/{{id}}/reversals/{{reversal}}",
            v1.TransferReversalRetrieveParams,
            one_reversal,
            "expand",
        ),
    ]


def _accounts(world: StripeWorld, connect: Connect) -> list[Endpoint]:
    def account(call: Call) -> Record:
        return world.get("account", call.id)

    def open_account(call: Call) -> Record:
        opened = connect.open_account(call.params)
        return connect.show_v2(opened, call.params.get("include", []))

    return [
        Endpoint(
            "GET",
            "/v1/accounts/{id}",
            v1.AccountRetrieveParams,
            lambda call: connect.show_v1(account(call)),
            "expand",
        ),
        Endpoint(
            "POST",
            "/v2/core/accounts",
            v2.AccountCreateParams,
            open_account,
            "configuration contact_email dashboard defaults display_name identity include metadata",
        ),
        Endpoint(
            "GET",
            "/v2/core/accounts/{id}",
            v2.AccountRetrieveParams,
            lambda call: connect.show_v2(account(call), call.params.get("include", [])),
            "include",
        ),
        Endpoint(
            "POST",
            "/v2/core/account_links",
            v2.AccountLinkCreateParams,
            lambda call: connect.link(call.params),
            "account use_case",
        ),
    ]


def _money_and_news(world: StripeWorld) -> list[Endpoint]:
    def transactions(call: Call) -> Record:
        found = [
            transaction
            for transaction in reversed(world.transactions(call.account))
            if fits(transaction, call.params, ("source", "type", "currency"))
        ]
        return page(found, call.params, "/v1/balance_transactions")

    def events(call: Call) -> Record:
        wanted = call.params.get("types") or call.params.get("type")
        found = [
            event
            for event in reversed(world.all("event"))
            if is_within(event["created"], call.params.get("created"))
            and (wanted is None or event["type"] in ([wanted] if type(wanted) is str else wanted))
        ]
        return page(found, call.params, "/v1/events")

    return [
        Endpoint(
            "GET",
            "/v1/balance",
            v1.BalanceRetrieveParams,
            lambda call: world.balance(call.account),
            "expand",
            of_accounts=True,
        ),
        Endpoint(
            "GET",
            "/v1/balance_transactions",
            v1.BalanceTransactionListParams,
            transactions,
            f"source type currency created {PAGE}",
            of_accounts=True,
        ),
        retrieve(
            world,
            "/v1/balance_transactions",
            "balance_transaction",
            v1.BalanceTransactionRetrieveParams,
        ),
        Endpoint("GET", "/v1/events", v1.EventListParams, events, f"type types created {PAGE}"),
        retrieve(world, "/v1/events", "event", v1.EventRetrieveParams),
    ]
