"""Why contracts refuses; each error writes its own sentence."""

from uuid import UUID

from shared.errors import Conflict, Forbidden, Invalid, NotFound, NotYetKnown


class ContractNotFound(NotFound):
    code = "contract-not-found"
    title = "No such contract"

    def __init__(self, contract_id: UUID) -> None:
        super().__init__(f"There is no contract {contract_id} that you have a part in.")


class DocumentNotMade(NotFound):
    code = "document-not-made"
    title = "The contract has no document"

    def __init__(self, contract_id: UUID) -> None:
        super().__init__(f"Contract {contract_id} was ended before its document was made.")


class DocumentDiffers(Conflict):
    code = "document-differs"
    title = "This is not the document to be signed"

    def __init__(self) -> None:
        super().__init__("The hash sent is not that of the contract's document. Read it again.")


class AlreadySigned(Conflict):
    code = "already-signed"
    title = "You have signed this contract"

    def __init__(self, state: str) -> None:
        super().__init__("One signature per person and contract is enough.", state=state)


class SigningTimeOver(Conflict):
    code = "signing-time-over"
    title = "The time to sign is over"

    def __init__(self, state: str) -> None:
        super().__init__("The last moment to sign this contract has passed.", state=state)


class MayNotSign(Forbidden):
    code = "may-not-sign"
    title = "Your account may not sign contracts"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class NotConfirmed(Invalid):
    code = "not-confirmed"
    title = "The confirmation is not as it must be"

    def __init__(self) -> None:
        super().__init__("From Discord `confirmation` is exactly I AGREE; elsewhere leave it out.")


class WalletSignatureInvalid(Invalid):
    code = "wallet-signature-invalid"
    title = "The wallet's signature does not count"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}. Let the wallet sign the contract's typed data anew, or leave it out.",
            field="wallet_signature",
        )


class WalletDiffers(Conflict):
    code = "wallet-differs"
    title = "This is not the signature of your wallet"

    def __init__(self, signed_by: str, linked: str | None) -> None:
        yours = f"your wallet is {linked}" if linked else "you have linked no wallet"
        super().__init__(
            f"{signed_by} signed this document's hash, and {yours}. Sign this document with the"
            " linked wallet, or leave its signature out.",
            field="wallet_signature",
        )


class SignerNotYetKnown(NotYetKnown):
    def __init__(self) -> None:
        super().__init__("Your account is not known here yet. Try again in a moment.")


class LinkNotUsable(NotFound):
    """One answer for links that are unknown, used, replaced or too old."""

    code = "link-not-usable"
    title = "This link cannot be used"

    def __init__(self) -> None:
        super().__init__("The link was used, replaced by a newer one, or is too old. Ask anew.")


class NoActiveTemplate(Conflict):
    code = "no-active-template"
    title = "There are no terms to make contracts of"

    def __init__(self) -> None:
        super().__init__("No contract template is active.")


class TemplateNotFound(NotFound):
    code = "template-not-found"
    title = "No such template"

    def __init__(self, version: str) -> None:
        super().__init__(f"There is no contract template {version}.")


class TemplateExists(Conflict):
    code = "template-exists"
    title = "This version is taken"

    def __init__(self, version: str) -> None:
        super().__init__(f"Template {version} exists and never changes. Choose another version.")


class TemplateDeprecated(Conflict):
    code = "template-deprecated"
    title = "The template is deprecated"

    def __init__(self, version: str) -> None:
        super().__init__(f"Template {version} was deprecated for good. Create a new version.")


class TemplateActive(Conflict):
    code = "template-active"
    title = "The template is active"

    def __init__(self, version: str) -> None:
        super().__init__(f"New contracts are made of template {version}. Activate another first.")


class NotAPdf(Invalid):
    code = "not-a-pdf"
    title = "The body is not a PDF"

    def __init__(self) -> None:
        super().__init__("Send the file itself as the body, with Content-Type application/pdf.")
