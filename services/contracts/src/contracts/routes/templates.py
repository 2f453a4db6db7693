"""Contract templates: staff read them, admins decide which words contracts are made of."""

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import template_repository, use_cases
from contracts.documents import sample
from contracts.documents.press import Press, PressFailed
from contracts.errors import TemplateActive, TemplateDeprecated, TemplateExists, TemplateNotFound
from contracts.template_schemas import NewTemplate, TemplatesView, TemplateView
from shared import idempotency, problems
from shared.auth import Admin, Staff
from shared.errors import DomainError, Forbidden, Unavailable
from shared.idempotency import OnceIfKeyed
from shared.transactions import Transaction

router = APIRouter(prefix="/v1/contract-templates", tags=["contract templates"])

_COMMAND: tuple[type[DomainError], ...] = (Forbidden, *idempotency.REFUSALS)


@router.get("", summary="All templates", responses=problems.responses(Forbidden))
async def read_templates(session: Transaction, _staff: Staff) -> TemplatesView:
    rows = await template_repository.every(session)
    return TemplatesView(items=[TemplateView.of(row) for row in rows])


@router.post(
    "",
    summary="Keep new terms (admin)",
    status_code=201,
    response_model=TemplateView,
    responses=problems.responses(TemplateExists, *_COMMAND),
)
async def create_template(body: NewTemplate, admin: Admin, once: OnceIfKeyed) -> Response:
    async def command(session: AsyncSession) -> TemplateView:
        return TemplateView.of(await use_cases.create_template(session, body.terms()))

    return await once(admin.user_id, command, status=201)


@router.get(
    "/{version}",
    summary="One template",
    responses=problems.responses(Forbidden, TemplateNotFound),
)
async def read_template(version: str, session: Transaction, _staff: Staff) -> TemplateView:
    return TemplateView.of(await use_cases.find_template(session, version))


@router.get(
    "/{version}/preview",
    summary="A sample trade's document in these words",
    response_class=Response,
    responses={
        200: {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}},
        **problems.responses(Forbidden, TemplateNotFound, Unavailable),
    },
)
async def preview_template(version: str, request: Request, _staff: Staff) -> Response:
    async with request.app.state.sessions() as session:
        terms = (await use_cases.find_template(session, version)).terms
    press = Press()
    try:
        document = await press.render(sample.draft(version).model_dump(mode="json"), terms)
    except PressFailed as failed:
        raise Unavailable("The preview could not be made now. Try again.") from failed
    finally:
        await press.close()
    return Response(document, media_type="application/pdf")


@router.post(
    "/{version}/activate",
    summary="Make all new contracts of it (admin)",
    response_model=TemplateView,
    responses=problems.responses(TemplateNotFound, TemplateDeprecated, *_COMMAND),
)
async def activate_template(version: str, admin: Admin, once: OnceIfKeyed) -> Response:
    async def command(session: AsyncSession) -> TemplateView:
        return TemplateView.of(await use_cases.activate_template(session, version))

    return await once(admin.user_id, command)


@router.post(
    "/{version}/deprecate",
    summary="End it for good (admin)",
    response_model=TemplateView,
    responses=problems.responses(TemplateNotFound, TemplateActive, *_COMMAND),
)
async def deprecate_template(version: str, admin: Admin, once: OnceIfKeyed) -> Response:
    async def command(session: AsyncSession) -> TemplateView:
        return TemplateView.of(await use_cases.deprecate_template(session, version))

    return await once(admin.user_id, command)
