"""Stripe's endpoints that the product uses, as strict about what they are sent as the real ones."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import stripe
import stripe.params.v2.core
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from simulators.state import State, make_id
from simulators.stripe_webhooks import Webhooks
from simulators.stripe_wire import (
    API_VERSION,
    Idempotency,
    StripeRefused,
    amount_of,
    check_params,
    parse_form,
)
from simulators.stripe_world import StripeWorld

Endpoint = Callable[[dict[str, Any], dict[str, str]], Any]
_LISTS = {
    "payment_intents": ("payment_intent", stripe.params.PaymentIntentListParams),
    "charges": ("charge", stripe.params.ChargeListParams),
    "refunds": ("refund", stripe.params.RefundListParams),
    "transfers": ("transfer", stripe.params.TransferListParams),
    "balance_transactions": ("balance_transaction", stripe.params.BalanceTransactionListParams),
}
_FILTERS = ("transfer_group", "payment_intent", "charge", "destination", "source", "type")


class StripeApi:
    """Routes, authentication and idempotency around the rules of `StripeWorld`."""

    def __init__(self, state: State, api_key: str, base: str, webhooks: Webhooks) -> None:
        self._state = state
        self._world = StripeWorld(state)
        self._keys = Idempotency(state)
        self._api_key = api_key
        self._base = base
        self._webhooks = webhooks

    def router(self) -> APIRouter:
        routes = APIRouter()
        for path, endpoint in (
            ("/v1/payment_intents", self._create_payment),
            ("/v1/payment_intents/{id}/confirm", self._confirm_payment),
            ("/v1/payment_intents/{id}/cancel", self._cancel_payment),
            ("/v1/transfers", self._create_transfer),
            ("/v1/refunds", self._create_refund),
            ("/v2/core/accounts", self._create_account),
            ("/v2/core/account_links", self._create_account_link),
        ):
            routes.add_api_route(path, self._post(endpoint), methods=["POST"])
        for name, (kind, allowed) in _LISTS.items():
            routes.add_api_route(f"/v1/{name}", self._get(self._list(kind, allowed)))
            routes.add_api_route(f"/v1/{name}/{{id}}", self._get(self._retrieve(kind)))
        routes.add_api_route("/v1/events", self._get(self._list_events))
        routes.add_api_route("/v1/events/{id}", self._get(self._retrieve_event))
        routes.add_api_route("/v2/core/accounts/{id}", self._get(self._retrieve_account))
        routes.add_api_route("/onboarding/{id}", self._onboard)
        return routes

    def _authenticate(self, request: Request, path: dict[str, str], params: dict[str, Any]) -> None:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if key.startswith("pk_test_"):
            intent = self._world.of("payment_intent").get(path.get("id", ""), {})
            if params.get("client_secret") != intent.get("client_secret", ""):
                raise StripeRefused(401, "The client secret does not belong to this object.")
            return
        if key != self._api_key:
            raise StripeRefused(401, "Invalid API Key provided.", code="api_key_invalid")
        if request.headers.get("stripe-version") != API_VERSION:
            raise StripeRefused(400, f"Send Stripe-Version: {API_VERSION}.")

    def _note(self, request: Request) -> None:
        self._state.data["stripe"]["requests"].append(
            {
                "method": request.method,
                "path": request.url.path.removeprefix("/stripe"),
                "idempotency_key": request.headers.get("idempotency-key"),
            }
        )

    def _post(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            self._note(request)
            body = await request.body()
            key = request.headers.get("idempotency-key")
            fingerprint = self._keys.fingerprint(request, body)
            try:
                is_json = "json" in request.headers.get("content-type", "")
                params = json.loads(body) if is_json else parse_form(body.decode())
                path = {name: str(value) for name, value in request.path_params.items()}
                self._authenticate(request, path, params)
                replay = self._keys.begin(key, fingerprint) if key else None
            except StripeRefused as error:
                return error.response()
            if replay is not None:
                return replay
            kept: Response | None = None
            try:
                answer = JSONResponse(endpoint(params, path), 200, {"Request-Id": make_id("req")})
                kept = answer
            except StripeRefused as error:
                answer = error.response()
                # A declined card has taken effect; a malformed request has not.
                kept = answer if error.status == 402 else None
            finally:
                if key:
                    self._keys.end(key, fingerprint, kept)
            self._state.save()
            self._webhooks.wake()
            return answer

        return handle

    def _get(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            self._note(request)
            try:
                params = parse_form(request.url.query)
                path = {name: str(value) for name, value in request.path_params.items()}
                self._authenticate(request, path, params)
                return JSONResponse(endpoint(params, path), 200, {"Request-Id": make_id("req")})
            except StripeRefused as error:
                return error.response()

        return handle

    def _create_payment(self, params: dict[str, Any], _path: dict[str, str]) -> Any:
        check_params(params, stripe.params.PaymentIntentCreateParams)
        return self._world.open_payment(params, amount_of(params, least=50))

    def _confirm_payment(self, params: dict[str, Any], path: dict[str, str]) -> Any:
        check_params(params, stripe.params.PaymentIntentConfirmParams, extra=("client_secret",))
        card = params.get("payment_method_data", {}).get("card", {}).get("number")
        method = params.get("payment_method") or card
        if not method:
            raise StripeRefused(400, "A payment method is needed.", param="payment_method")
        return self._world.confirm_payment(self._world.get("payment_intent", path["id"]), method)

    def _cancel_payment(self, params: dict[str, Any], path: dict[str, str]) -> Any:
        check_params(params, stripe.params.PaymentIntentCancelParams)
        intent = self._world.get("payment_intent", path["id"])
        return self._world.cancel_payment(intent, params.get("cancellation_reason"))

    def _create_transfer(self, params: dict[str, Any], _path: dict[str, str]) -> Any:
        check_params(params, stripe.params.TransferCreateParams)
        return self._world.transfer(params, amount_of(params))

    def _create_refund(self, params: dict[str, Any], _path: dict[str, str]) -> Any:
        check_params(params, stripe.params.RefundCreateParams)
        return self._world.refund(params, amount_of(params) if "amount" in params else None)

    def _create_account(self, params: dict[str, Any], _path: dict[str, str]) -> Any:
        check_params(params, stripe.params.v2.core.AccountCreateParams)
        return self._account(self._world.open_account(params), params.get("include", []))

    def _create_account_link(self, params: dict[str, Any], _path: dict[str, str]) -> Any:
        check_params(params, stripe.params.v2.core.AccountLinkCreateParams)
        account = self._world.get("account", str(params.get("account")))
        return {
            "object": "v2.core.account_link",
            "account": account["id"],
            "created": _moment(self._state.now()),
            "expires_at": _moment(self._state.now() + 600),
            "livemode": False,
            "url": f"{self._base}/onboarding/{account['id']}",
            "use_case": params.get("use_case"),
        }

    async def _onboard(self, request: Request) -> Response:
        """The hosted page: looking at it is all this seller has to do."""
        account = self._world.of("account").get(request.path_params["id"])
        if account is None:
            return HTMLResponse("Unknown account.", 404)
        self._world.put("account", account | {"is_active": True})
        self._state.save()
        return HTMLResponse("<!doctype html><title>Onboarding</title><h1>You can be paid now.</h1>")

    def _retrieve_account(self, params: dict[str, Any], path: dict[str, str]) -> Any:
        account = self._world.get("account", path["id"])
        return self._account(account, params.get("include", []))

    @staticmethod
    def _account(account: dict[str, Any], include: Any) -> dict[str, Any]:
        """As v2 answers: `configuration` only when it is asked for."""
        status = "active" if account["is_active"] else "restricted"
        transfers = {"stripe_transfers": {"status": status, "status_details": []}}
        recipient = {"applied": True, "capabilities": {"stripe_balance": transfers}}
        is_asked = "configuration.recipient" in include
        return {
            "id": account["id"],
            "object": "v2.core.account",
            "applied_configurations": ["recipient"],
            "configuration": {"recipient": recipient} if is_asked else None,
            "contact_email": account["contact_email"],
            "created": _moment(account["created"]),
            "dashboard": account["dashboard"],
            "display_name": account["display_name"],
            "livemode": False,
            "metadata": account["metadata"],
        }

    def _retrieve(self, kind: str) -> Endpoint:
        def endpoint(params: dict[str, Any], path: dict[str, str]) -> Any:
            thing = self._world.get(kind, path["id"])
            expand = params.get("expand", [])
            for name in ("latest_charge", "balance_transaction", "charge", "payment_intent"):
                if name in expand and thing.get(name):
                    known = {"latest_charge": "charge"}.get(name, name)
                    thing = {**thing, name: self._world.get(known, thing[name])}
            return thing

        return endpoint

    def _list(self, kind: str, allowed: type) -> Endpoint:
        def endpoint(params: dict[str, Any], _path: dict[str, str]) -> Any:
            check_params(params, allowed)
            found = [
                thing
                for thing in reversed(self._world.of(kind).values())
                if all(thing.get(name) == params[name] for name in _FILTERS if name in params)
                and _in_window(thing["created"], params.get("created"))
            ]
            return _page(found, params, f"/v1/{kind}s")

        return endpoint

    def _list_events(self, params: dict[str, Any], _path: dict[str, str]) -> Any:
        check_params(params, stripe.params.EventListParams)
        found = [
            event
            for event in reversed(self._state.data["stripe"]["events"])
            if params.get("type") in {None, event["type"]}
            and _in_window(event["created"], params.get("created"))
        ]
        return _page(found, params, "/v1/events")

    def _retrieve_event(self, _params: dict[str, Any], path: dict[str, str]) -> Any:
        for event in self._state.data["stripe"]["events"]:
            if event["id"] == path["id"]:
                return event
        raise StripeRefused(404, f"No such event: '{path['id']}'", code="resource_missing")


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _in_window(created: int, window: Any) -> bool:
    if not isinstance(window, dict):
        return window is None or created == int(window)
    return created >= int(window.get("gte", 0)) and created <= int(window.get("lte", created))


def _page(found: list[dict[str, Any]], params: dict[str, Any], url: str) -> dict[str, Any]:
    limit = int(params.get("limit", 10))
    if not 1 <= limit <= 100:
        raise StripeRefused(400, "limit must be 1 to 100.", param="limit")
    if "starting_after" in params:
        ids = [thing["id"] for thing in found]
        found = found[ids.index(params["starting_after"]) + 1 :]
    return {
        "object": "list",
        "url": url,
        "has_more": len(found) > limit,
        "data": found[:limit],
    }
