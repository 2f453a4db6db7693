"""The door to the simulated Stripe: keys, versions, strict parameters, idempotency, faults."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from secrets import compare_digest
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from simulators.faults import held_rule
from simulators.state import Part, Record, make_id
from simulators.stripe.calls import endpoints
from simulators.stripe.connect import Connect
from simulators.stripe.endpoints import Call, Endpoint, check
from simulators.stripe.idempotency import Idempotency
from simulators.stripe.params import decode
from simulators.stripe.payments import Payments
from simulators.stripe.webhooks import Webhooks
from simulators.stripe.wire import API_VERSION, StripeRefused, expand, parse_form
from simulators.stripe.world import PLATFORM, StripeWorld


class StripeApi:
    def __init__(self, part: Part, api_key: str, base: str, webhooks: Webhooks) -> None:
        self._part = part
        self._world = StripeWorld(part)
        self._payments = Payments(self._world, base)
        self._connect = Connect(self._world, base)
        self._keys = Idempotency(part)
        self._api_key = api_key
        self._webhooks = webhooks

    def router(self) -> APIRouter:
        routes = APIRouter()
        for endpoint in endpoints(self._world, self._payments, self._connect):
            handler = self._post(endpoint) if endpoint.method == "POST" else self._get(endpoint)
            routes.add_api_route(endpoint.path, handler, methods=[endpoint.method])
        routes.add_api_route("/onboarding/{token}", self._onboard)
        routes.add_api_route("/3ds/{payment_id}", self._authenticate_payment)
        routes.add_api_route("/{path:path}", _unknown_path, methods=["GET", "POST", "DELETE"])
        return routes

    def _post(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            request_id = make_id("req")
            body = await request.body()
            try:
                api_key = _api_key(request)
                raw = _read(request, body)
                self._let_in(endpoint, request, api_key, raw)
                key = request.headers.get("idempotency-key")
                scope = Idempotency.scope(api_key, key) if key else ""
                call = _call(endpoint, request, raw)
                fingerprint = Idempotency.fingerprint(request.method, request.url.path, body)
                replay = self._keys.begin(scope, fingerprint) if key else None
            except StripeRefused as error:
                return error.response(request_id)
            if replay is not None:
                return replay
            self._world.request = {"id": request_id, "idempotency_key": key}
            return await self._execute(endpoint, request, call, scope)

        return handle

    async def _execute(
        self, endpoint: Endpoint, request: Request, call: Call, scope: str
    ) -> Response:
        """From here on the key remembers the outcome, whatever it is."""
        request_id = str(self._world.request["id"])
        kept: Response | None = None
        try:
            answer = self._run(endpoint, call, request_id)
            held = held_rule(request.scope)
            if held is not None and (failure := held.take("fail")):
                answer = failure.failure()
                answer.headers["Request-Id"] = request_id
            # v2 repeats what has failed instead of replaying the failure.
            if answer.status_code < 400 or not endpoint.path.startswith("/v2/"):
                kept = answer
            if held is not None and (wait := held.take("delay")):
                self._finish()
                await asyncio.sleep(wait.seconds)
        finally:
            if scope:
                self._keys.end(scope, kept)
            self._finish()
        return answer

    def _run(self, endpoint: Endpoint, call: Call, request_id: str) -> Response:
        try:
            answer = endpoint.run(call)
            answer = expand(answer, call.params.get("expand", []), self._find)
        except StripeRefused as error:
            return error.response(request_id)
        return JSONResponse(answer, 200, {"Request-Id": request_id})

    def _find(self, object_id: str) -> Record | None:
        found = self._world.find(object_id)
        if found is not None:
            return self._world.seen(found)
        account = self._part.get("account", object_id)
        return self._connect.show_v1(account) if account else None

    def _finish(self) -> None:
        self._part.save()
        self._webhooks.wake()

    def _get(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            request_id = make_id("req")
            try:
                raw = parse_form(request.url.query)
                self._let_in(endpoint, request, _api_key(request), raw)
                call = _call(endpoint, request, raw)
            except StripeRefused as error:
                return error.response(request_id)
            return self._run(endpoint, call, request_id)

        return handle

    def _let_in(
        self, endpoint: Endpoint, request: Request, api_key: str, raw: dict[str, Any]
    ) -> None:
        """The platform's secret key; or a publishable one that knows the object's client secret."""
        if api_key.startswith("pk_test_") and endpoint.for_browsers:
            intent = self._part.get("payment_intent", request.path_params["id"]) or {}
            secret = str(raw.get("client_secret", ""))
            if not intent or not _is_same(secret, str(intent["client_secret"])):
                raise StripeRefused(
                    401,
                    "The client_secret provided does not match any associated PaymentIntent.",
                    code="payment_intent_invalid_parameter",
                    param="client_secret",
                )
            return
        if api_key.startswith("pk_"):
            raise StripeRefused(
                403,
                "This API call cannot be made with a publishable API key.",
                code="secret_key_required",
            )
        if not _is_same(api_key, self._api_key):
            raise StripeRefused(401, "Invalid API Key provided.")
        if request.headers.get("stripe-version") != API_VERSION:
            raise StripeRefused(400, f"Invalid Stripe API version: send {API_VERSION}.")

    async def _onboard(self, token: str) -> Response:
        link = self._connect.onboard(token)
        self._finish()
        if link is None:
            return HTMLResponse("<!doctype html><h1>This link is over.</h1>", 404)
        return HTMLResponse(
            "<!doctype html><title>Onboarding</title><h1>You can be paid now.</h1>"
            f"<p>Go back to {link['return_url']}"
        )

    async def _authenticate_payment(
        self, payment_id: str, outcome: Annotated[str, Query(pattern="^(pay|fail)$")] = "pay"
    ) -> Response:
        try:
            intent = self._world.get("payment_intent", payment_id)
            self._payments.authenticate(intent, is_successful=outcome == "pay")
        except StripeRefused as error:
            return error.response(make_id("req"))
        self._finish()
        return HTMLResponse(f"<!doctype html><title>Your bank</title><h1>{outcome}</h1>")


def _is_same(given: str, secret: str) -> bool:
    return compare_digest(given.encode(), secret.encode())


def _api_key(request: Request) -> str:
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not key:
        raise StripeRefused(401, "You did not provide an API key.")
    return key


def _read(request: Request, body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
        if not request.url.path.removeprefix("/stripe").startswith("/v2/"):
            return parse_form(text)
        parsed = json.loads(text or "{}")
    except ValueError as error:
        raise StripeRefused(400, "The body cannot be read.") from error
    if not isinstance(parsed, dict):
        raise StripeRefused(400, "The body must be an object.")
    return parsed


def _call(endpoint: Endpoint, request: Request, raw: dict[str, Any]) -> Call:
    params = decode(endpoint.params, raw, also=endpoint.also)
    path = {name: str(value) for name, value in request.path_params.items()}
    call = Call(params, path, request.headers.get("stripe-account") or PLATFORM)
    check(endpoint, call)
    return call


async def _unknown_path(request: Request) -> Response:
    return StripeRefused(
        404, f"Unrecognized request URL ({request.method}: {request.url.path})."
    ).response(make_id("req"))
