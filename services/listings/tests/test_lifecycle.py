"""Every state and action of listings and offers, paired."""

from itertools import product
from pathlib import Path

import pytest

from listings.lifecycle import (
    LISTING,
    OFFER,
    ListingAction,
    ListingStatus,
    OfferAction,
    OfferStatus,
)
from shared.lifecycle import IllegalMove

LISTING_MOVES = {
    ("ACTIVE", "be deactivated"): "INACTIVE",
    ("ACTIVE", "be reserved"): "INACTIVE",
    ("INACTIVE", "be activated"): "ACTIVE",
    ("INACTIVE", "be freed"): "ACTIVE",
    ("INACTIVE", "be sold"): "SOLD",
}
OFFER_MOVES = {
    ("PENDING", "be accepted"): "ACCEPTED",
    ("PENDING", "be countered"): "COUNTERED",
    ("PENDING", "be declined"): "DECLINED",
    ("PENDING", "expire"): "EXPIRED",
}


@pytest.mark.parametrize(("state", "action"), list(product(ListingStatus, ListingAction)))
def test_listings_move_as_the_table_says(state: ListingStatus, action: ListingAction) -> None:
    expected = LISTING_MOVES.get((state.value, action.value))
    if expected is None:
        with pytest.raises(IllegalMove):
            LISTING.after(state, action)
    else:
        assert LISTING.after(state, action) == expected


@pytest.mark.parametrize(("state", "action"), list(product(OfferStatus, OfferAction)))
def test_offers_move_as_the_table_says(state: OfferStatus, action: OfferAction) -> None:
    expected = OFFER_MOVES.get((state.value, action.value))
    if expected is None:
        with pytest.raises(IllegalMove):
            OFFER.after(state, action)
    else:
        assert OFFER.after(state, action) == expected


def test_what_is_final_is_final() -> None:
    assert LISTING.terminal() == {ListingStatus.SOLD}
    assert OFFER.terminal() == set(OfferStatus) - {OfferStatus.PENDING}


def test_the_readme_shows_the_current_diagrams() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert LISTING.mermaid() in readme
    assert OFFER.mermaid() in readme
