"""HTTP: parse, call one use case, present."""

from contracts.routes import verify
from contracts.routes.contracts import router as contracts
from contracts.routes.links import router as links
from contracts.routes.templates import router as templates

ROUTERS = (links, verify.router, contracts, templates)
"""`/link/…` is looked for before `/{contract_id}/…`."""
