"""The words of a contract: numbered clauses whose placeholders are filled with literal text."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

PLACEHOLDERS = frozenset(
    {
        "seller_name",
        "seller_roblox",
        "seller_roblox_id",
        "buyer_name",
        "buyer_roblox",
        "buyer_roblox_id",
        "game_name",
        "game_id",
        "price",
        "fee",
        "payout",
        "rail",
        "sign_by",
        "pay_within",
        "deliver_within",
        "auto_release",
        "reclaim_after",
    }
)
"""All that a clause may name."""


def _refuse_braces(text: str) -> str:
    """Only the text of a clause is filled; elsewhere a placeholder would be printed as it is."""
    if "{" in text or "}" in text:
        raise ValueError("placeholders and braces belong into the text of a clause only")
    return text


Plain = Annotated[str, AfterValidator(_refuse_braces)]


class Clause(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    heading: Plain = Field(min_length=1, max_length=120)
    text: str = Field(min_length=1, max_length=5000)

    @field_validator("text")
    @classmethod
    def know_every_placeholder(cls, text: str) -> str:
        unknown = set(_PLACEHOLDER.findall(text)) - PLACEHOLDERS
        if unknown:
            raise ValueError(f"unknown placeholders: {', '.join(sorted(unknown))}")
        if _PLACEHOLDER.sub("", text).count("{") or _PLACEHOLDER.sub("", text).count("}"):
            raise ValueError("a brace that opens or closes no placeholder")
        return text

    def filled(self, values: dict[str, str]) -> list[str]:
        """The clause's own words and what its placeholders stand for, in turn; what is filled in
        is never read again.
        """
        parts = _PLACEHOLDER.split(self.text)
        return [values[part] if at % 2 else part for at, part in enumerate(parts)]


_NUMBER = "(0|[1-9][0-9]{0,4})"
Version = Annotated[str, Field(pattern=rf"^{_NUMBER}\.{_NUMBER}\.{_NUMBER}$")]


class Terms(BaseModel):
    """The `terms` of a template."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Plain = Field(min_length=1, max_length=120)
    version: Version
    consent: Plain = Field(min_length=1, max_length=2000)
    """What each party agrees to by signing; shown before, kept by version with the signature."""
    clauses: list[Clause] = Field(min_length=1, max_length=100)


def read(terms: dict[str, Any]) -> Terms:
    """The terms of a stored template.

    Raises:
        pydantic.ValidationError: they are malformed or name an unknown placeholder.
    """
    return Terms.model_validate(terms)
