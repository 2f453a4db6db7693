"""How an ownership check goes: pending until Roblox has answered, verified for a day."""

from datetime import timedelta
from enum import StrEnum

from shared.lifecycle import Lifecycle

VALID_FOR = timedelta(hours=24)


class VerificationStatus(StrEnum):
    PENDING = "PENDING"
    VERIFIED = "VERIFIED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class VerificationAction(StrEnum):
    ASK = "be asked for again"
    PROVE = "be proven"
    FAIL = "fail"
    EXPIRE = "expire"


VERIFICATION = Lifecycle(
    "Verification",
    initial=VerificationStatus.PENDING,
    moves={
        (VerificationStatus.PENDING, VerificationAction.ASK): VerificationStatus.PENDING,
        (VerificationStatus.VERIFIED, VerificationAction.ASK): VerificationStatus.PENDING,
        (VerificationStatus.FAILED, VerificationAction.ASK): VerificationStatus.PENDING,
        (VerificationStatus.EXPIRED, VerificationAction.ASK): VerificationStatus.PENDING,
        (VerificationStatus.PENDING, VerificationAction.PROVE): VerificationStatus.VERIFIED,
        (VerificationStatus.PENDING, VerificationAction.FAIL): VerificationStatus.FAILED,
        (VerificationStatus.VERIFIED, VerificationAction.EXPIRE): VerificationStatus.EXPIRED,
    },
)
