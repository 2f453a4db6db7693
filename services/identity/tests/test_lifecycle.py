"""Every state and action of a verification, paired."""

from itertools import product
from pathlib import Path

import pytest

from identity.lifecycle import VERIFICATION, VerificationAction, VerificationStatus
from shared.lifecycle import IllegalMove

MOVES = {
    ("PENDING", "be asked for again"): "PENDING",
    ("VERIFIED", "be asked for again"): "PENDING",
    ("FAILED", "be asked for again"): "PENDING",
    ("EXPIRED", "be asked for again"): "PENDING",
    ("PENDING", "be proven"): "VERIFIED",
    ("PENDING", "fail"): "FAILED",
    ("VERIFIED", "expire"): "EXPIRED",
}


@pytest.mark.parametrize(("state", "action"), list(product(VerificationStatus, VerificationAction)))
def test_verifications_move_as_the_table_says(
    state: VerificationStatus, action: VerificationAction
) -> None:
    expected = MOVES.get((state.value, action.value))
    if expected is None:
        with pytest.raises(IllegalMove):
            VERIFICATION.after(state, action)
    else:
        assert VERIFICATION.after(state, action) == expected


def test_the_readme_shows_the_current_diagram() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert VERIFICATION.mermaid() in readme
