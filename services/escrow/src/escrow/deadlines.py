"""Every deadline of an escrow or a milestone; who holds the escrow's row decides each race."""

from escrow import part_repository, repository
from escrow.use_cases import disputes, held_long, moves, paying, settling, silence
from escrow.use_cases.opening import PAY_BY
from shared.deadlines import Expiry

EXPIRIES = {
    PAY_BY: Expiry(lock=repository.lock, expire=paying.expire_payment),
    moves.RELEASE_BY: Expiry(lock=part_repository.lock_part, expire=silence.expire_release),
    held_long.HELD_LONG: Expiry(lock=repository.lock, expire=held_long.alarm),
    settling.DISPUTE_ALERT: Expiry(lock=part_repository.lock_part, expire=disputes.alert),
}
