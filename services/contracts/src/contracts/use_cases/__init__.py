"""One function per verb: load and lock, decide, save, record."""

from contracts.use_cases.access import Reader, hash_of
from contracts.use_cases.announce import REMINDERS, SIGN_BY
from contracts.use_cases.create import (
    CREATION,
    PICTURE,
    StoredDocument,
    begin,
    create,
    freeze,
    give_up,
)
from contracts.use_cases.end import decline, decline_by_link, expire, remind, void
from contracts.use_cases.execute import (
    Execution,
    begin_execution,
    execute,
    fail,
    gather,
    retry,
)
from contracts.use_cases.history import History, show_history
from contracts.use_cases.read import (
    Shown,
    Stored,
    open_document,
    show,
    show_by_link,
    show_contract,
    show_many,
)
from contracts.use_cases.sign import make_link, sign, sign_by_link
from contracts.use_cases.templates import (
    activate_template,
    create_template,
    deprecate_template,
    find_template,
)
from contracts.use_cases.verify import Verdict, Verified, verify

__all__ = [
    "CREATION",
    "PICTURE",
    "REMINDERS",
    "SIGN_BY",
    "Execution",
    "History",
    "Reader",
    "Shown",
    "Stored",
    "StoredDocument",
    "Verdict",
    "Verified",
    "activate_template",
    "begin",
    "begin_execution",
    "create",
    "create_template",
    "decline",
    "decline_by_link",
    "deprecate_template",
    "execute",
    "expire",
    "fail",
    "find_template",
    "freeze",
    "gather",
    "give_up",
    "hash_of",
    "make_link",
    "open_document",
    "remind",
    "retry",
    "show",
    "show_by_link",
    "show_contract",
    "show_history",
    "show_many",
    "sign",
    "sign_by_link",
    "verify",
    "void",
]
