"""The words that contracts are made of: added, chosen and ended by admins, never changed."""

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import template_repository as repository
from contracts.documents.template import Terms
from contracts.errors import TemplateActive, TemplateDeprecated, TemplateExists, TemplateNotFound
from contracts.models import ContractTemplate
from shared import audit

SUBJECT = "contract_template"


async def find_template(session: AsyncSession, version: str) -> ContractTemplate:
    """The template of a version.

    Raises:
        TemplateNotFound: there is none.
    """
    template = await repository.get(session, version)
    if template is None:
        raise TemplateNotFound(version)
    return template


async def create_template(session: AsyncSession, terms: Terms) -> ContractTemplate:
    """Keep the terms under their version; no contract is made of them yet.

    Raises:
        TemplateExists: the version is taken.
    """
    template = await repository.add(session, terms)
    if template is None:
        raise TemplateExists(terms.version)
    await audit.record(
        session, "contract_template.created", SUBJECT, template.id, version=terms.version
    )
    return template


async def activate_template(session: AsyncSession, version: str) -> ContractTemplate:
    """Make every contract from now on of this template; done already, nothing changes.

    Raises:
        TemplateNotFound: there is no such version.
        TemplateDeprecated: it was ended.
    """
    every = {template.version: template for template in await repository.lock_every(session)}
    template = every.get(version)
    if template is None:
        raise TemplateNotFound(version)
    if template.deprecated_at is not None:
        raise TemplateDeprecated(version)
    if template.is_active:
        return template
    before = [other for other in every.values() if other.is_active]
    for other in before:
        await repository.set_active(session, other, active=False)
    await repository.set_active(session, template, active=True)
    await audit.record(
        session,
        "contract_template.activated",
        SUBJECT,
        template.id,
        version=version,
        instead_of=[other.version for other in before],
    )
    return template


async def deprecate_template(session: AsyncSession, version: str) -> ContractTemplate:
    """End a template for good; contracts made of it keep its words.

    Raises:
        TemplateNotFound: there is no such version.
        TemplateActive: new contracts are made of it.
    """
    every = {template.version: template for template in await repository.lock_every(session)}
    template = every.get(version)
    if template is None:
        raise TemplateNotFound(version)
    if template.is_active:
        raise TemplateActive(version)
    if template.deprecated_at is None:
        await repository.set_deprecated(session, template)
        await audit.record(
            session, "contract_template.deprecated", SUBJECT, template.id, version=version
        )
    return template
