"""What may happen to a listing and to an offer, and nothing else."""

from enum import StrEnum

from shared.lifecycle import Lifecycle


class ListingStatus(StrEnum):
    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    SOLD = "SOLD"


class ListingAction(StrEnum):
    ACTIVATE = "be activated"
    DEACTIVATE = "be deactivated"
    RESERVE = "be reserved"
    FREE = "be freed"
    SELL = "be sold"


LISTING = Lifecycle(
    "Listing",
    initial=ListingStatus.ACTIVE,
    moves={
        (ListingStatus.ACTIVE, ListingAction.DEACTIVATE): ListingStatus.INACTIVE,
        (ListingStatus.ACTIVE, ListingAction.RESERVE): ListingStatus.INACTIVE,
        (ListingStatus.INACTIVE, ListingAction.ACTIVATE): ListingStatus.ACTIVE,
        (ListingStatus.INACTIVE, ListingAction.FREE): ListingStatus.ACTIVE,
        (ListingStatus.INACTIVE, ListingAction.SELL): ListingStatus.SOLD,
    },
)


class Visibility(StrEnum):
    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"


class OfferStatus(StrEnum):
    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    COUNTERED = "COUNTERED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"


class OfferAction(StrEnum):
    ACCEPT = "be accepted"
    COUNTER = "be countered"
    DECLINE = "be declined"
    EXPIRE = "expire"


OFFER = Lifecycle(
    "Offer",
    initial=OfferStatus.PENDING,
    moves={
        (OfferStatus.PENDING, OfferAction.ACCEPT): OfferStatus.ACCEPTED,
        (OfferStatus.PENDING, OfferAction.COUNTER): OfferStatus.COUNTERED,
        (OfferStatus.PENDING, OfferAction.DECLINE): OfferStatus.DECLINED,
        (OfferStatus.PENDING, OfferAction.EXPIRE): OfferStatus.EXPIRED,
    },
)


class DeclineReason(StrEnum):
    DECLINED = "DECLINED"
    WITHDRAWN = "WITHDRAWN"
    SOLD = "SOLD"
