"""Bodies of requests and answers about templates."""

from datetime import datetime
from typing import Self

from contracts.documents import template
from contracts.documents.template import Clause, Terms
from contracts.models import ContractTemplate
from shared.web import RequestBody, View


class NewTemplate(RequestBody, Terms):
    """Numbered clauses and what is agreed to by signing; see `PLACEHOLDERS` for what to name."""

    def terms(self) -> Terms:
        return Terms.model_validate(self.model_dump())


class TemplateView(View):
    version: str
    name: str
    is_active: bool
    """New contracts are made of it; true for one at most."""
    created_at: datetime
    updated_at: datetime
    deprecated_at: datetime | None
    consent: str
    clauses: list[Clause]

    @classmethod
    def of(cls, row: ContractTemplate) -> Self:
        terms = template.read(row.terms)
        return cls(
            version=row.version,
            name=row.name,
            is_active=row.is_active,
            created_at=row.created_at,
            updated_at=row.updated_at,
            deprecated_at=row.deprecated_at,
            consent=terms.consent,
            clauses=terms.clauses,
        )


class TemplatesView(View):
    """All of them, newest first: a system has few."""

    items: list[TemplateView]
