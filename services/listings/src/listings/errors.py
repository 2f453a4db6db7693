"""Refusals of listings and offers."""

from datetime import datetime
from uuid import UUID

from shared.errors import Conflict, Forbidden, Invalid, NotFound, NotYetKnown
from shared.money import Currency


class ListingNotFound(NotFound):
    code = "listing-not-found"
    title = "No such listing"

    def __init__(self, listing_id: UUID) -> None:
        super().__init__(f"There is no listing {listing_id} that you may see.")


class OfferNotFound(NotFound):
    code = "offer-not-found"
    title = "No such offer"

    def __init__(self, offer_id: UUID) -> None:
        super().__init__(f"You have no part in an offer {offer_id}.")


class TierTooLow(Forbidden):
    code = "tier-too-low"
    title = "A linked Roblox account is needed to trade"

    def __init__(self) -> None:
        super().__init__("Link your Roblox account, then list and offer.")


class UserFrozen(Forbidden):
    code = "user-frozen"
    title = "This user may not trade"

    def __init__(self) -> None:
        super().__init__("Your account is frozen. Contact support.")


class UserNotYetKnown(NotYetKnown):
    def __init__(self) -> None:
        super().__init__("Your account has not arrived here yet. Ask again in a second.")


class VerificationNotYetKnown(NotYetKnown):
    def __init__(self, game_id: str) -> None:
        super().__init__(
            f"No verification of game {game_id} has arrived yet. Ask for one, or ask again."
        )


class NotTheOwner(Conflict):
    code = "not-verified"
    title = "You are not verified as this game's owner"

    def __init__(self, game_id: str) -> None:
        super().__init__(f"The last check of game {game_id} did not prove that you own it.")


class VerificationExpired(Conflict):
    code = "verification-expired"
    title = "The proof of ownership is older than a day"

    def __init__(self, game_id: str) -> None:
        super().__init__(f"Verify game {game_id} again: POST /v1/verifications.")


class GameListed(Conflict):
    code = "game-already-listed"
    title = "This game is on offer already"

    def __init__(self, game_id: str) -> None:
        super().__init__(f"Game {game_id} has an active or reserved listing.")


class ListingReserved(Conflict):
    code = "listing-reserved"
    title = "The listing is reserved by an accepted offer"

    def __init__(self) -> None:
        super().__init__("An accepted offer holds this listing.", state="INACTIVE")


class ListingNotActive(Conflict):
    code = "listing-not-active"
    title = "The listing takes no offers now"

    def __init__(self, state: str) -> None:
        super().__init__(f"The listing is {state}.", state=state)


class ListingChanged(Conflict):
    code = "listing-changed"
    title = "The listing has changed since the offer was made"

    def __init__(self, version: int) -> None:
        super().__init__(
            f"Look at the listing again and send listing_version {version} to accept it as it is.",
            listing_version=version,
        )


class OwnListing(Conflict):
    code = "own-listing"
    title = "Nobody trades with themselves"

    def __init__(self) -> None:
        super().__init__("This is your own listing.")


class OfferOpen(Conflict):
    code = "offer-already-open"
    title = "You have an open offer for this listing"

    def __init__(self) -> None:
        super().__init__("Withdraw your open offer first, or wait for its answer.")


class NotYourTurn(Conflict):
    code = "not-your-turn"
    title = "The other side has to answer this offer"

    def __init__(self) -> None:
        super().__init__("You made this offer; only the other side may answer it.")


class NotYourOffer(Conflict):
    code = "not-your-offer"
    title = "Only its proposer withdraws an offer"

    def __init__(self) -> None:
        super().__init__("The other side made this offer; decline it instead.")


class OfferExpired(Conflict):
    code = "offer-expired"
    title = "The offer has expired"

    def __init__(self, expiry: datetime) -> None:
        super().__init__(f"It was open until {expiry.isoformat()}.", state="EXPIRED")


class AmountOutOfRange(Invalid):
    code = "amount-out-of-range"
    title = "The amount is not possible for this listing"

    def __init__(self, least: int, most: int) -> None:
        super().__init__(f"Offer {least} to {most} cents.", field="amount")


class WrongCurrency(Invalid):
    code = "wrong-currency"
    title = "This amount is paid in another currency"

    def __init__(self, currency: Currency) -> None:
        super().__init__(f"This amount is offered in {currency.value}.", field="currency")


class ExpiryOutOfRange(Invalid):
    code = "expiry-out-of-range"
    title = "The offer's end is too near or too far"

    def __init__(self) -> None:
        super().__init__("Choose a time between an hour and 30 days from now.", field="expiry")
