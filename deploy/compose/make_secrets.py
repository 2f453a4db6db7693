"""Makes the passwords that docker compose needs, once: `python3 deploy/compose/make_secrets.py`.

Each process gets a file with its own secrets and nothing else, below deploy/secrets. All start
with `dev-`, which services in production mode refuse.
"""

import base64
import json
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "secrets"
SERVICES = ("identity", "listings", "contracts", "escrow")
STRIPE_API_KEY = "sk_test_bloxtr8"
BUCKET = "contracts"
EVIDENCE_BUCKET = "evidence"
_NAMES = (
    *("postgres", "kafka_broker", "kafka_admin", "s3_admin", "s3_contracts", "s3_escrow"),
    *(f"{service}_{role}" for service in SERVICES for role in ("owner", "app")),
    *(f"kafka_{service}" for service in SERVICES),
    *("auditor", "s3_jwt", "discord", "roblox", "stripe_webhook", "seal"),
)
_CONTRACTS_MAY = ("Read", "Write", "List", "Tagging", "PutObjectRetention")
_S3_ACTIONS = {
    "admin": ["Admin", "Read", "Write", "List", "Tagging"],
    "contracts": [f"{action}:{BUCKET}" for action in _CONTRACTS_MAY],
    "escrow": [
        *(f"{action}:{BUCKET}" for action in ("Read", "List")),
        *(f"{action}:{EVIDENCE_BUCKET}" for action in ("Read", "Write")),
    ],
}


def made() -> dict[str, str]:
    """A fresh secret for every name."""
    values = {name: f"dev-{secrets.token_hex(16)}" for name in _NAMES}
    key = base64.urlsafe_b64decode("dev-") + secrets.token_bytes(29)
    return values | {"identity_encryption": base64.urlsafe_b64encode(key).decode()}


def files(values: dict[str, str]) -> dict[str, str]:
    """Every file by its name, for these secrets."""
    admin_url = f"postgresql://bloxtr8_admin:{values['postgres']}@postgres:5432/bloxtr8"
    environments = {
        "postgres": {"POSTGRES_PASSWORD": values["postgres"]},
        "kafka": {
            "BROKER_PASSWORD": values["kafka_broker"],
            "ADMIN_PASSWORD": values["kafka_admin"],
        },
        "setup": {
            "DATABASE_URL": admin_url,
            "KAFKA_ADMIN_PASSWORD": values["kafka_admin"],
            "S3_ACCESS_KEY": "DEVADMIN",
            "S3_SECRET_KEY": values["s3_admin"],
        },
        "simulators": {
            "SIMULATORS_STRIPE_API_KEY": STRIPE_API_KEY,
            "SIMULATORS_STRIPE_WEBHOOK_SECRET": values["stripe_webhook"],
            "SIMULATORS_DISCORD_CLIENT_SECRET": values["discord"],
            "SIMULATORS_ROBLOX_CLIENT_SECRET": values["roblox"],
        },
    }
    own = {
        "identity": {
            "ENCRYPTION_KEY": values["identity_encryption"],
            "DISCORD_CLIENT_SECRET": values["discord"],
            "ROBLOX_CLIENT_SECRET": values["roblox"],
        },
        "listings": {},
        "contracts": {
            "S3_ACCESS_KEY": "DEVCONTRACTS",
            "S3_SECRET_KEY": values["s3_contracts"],
            "SEAL_PKCS12_PASSWORD": values["seal"],
        },
        "escrow": {
            "S3_ACCESS_KEY": "DEVESCROW",
            "S3_SECRET_KEY": values["s3_escrow"],
            "STRIPE_API_KEY": STRIPE_API_KEY,
            "STRIPE_WEBHOOK_SECRETS": values["stripe_webhook"],
        },
    }
    for service in SERVICES:
        login = f"{service}_app:{values[f'{service}_app']}"
        common = {
            "DATABASE_URL": f"postgresql://{login}@postgres:5432/bloxtr8",
            "KAFKA_PASSWORD": values[f"kafka_{service}"],
        }
        environments[service] = {
            f"{service.upper()}_{name}": value for name, value in (common | own[service]).items()
        }
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": f"DEV{name.upper()}", "secretKey": values[f"s3_{name}"]}],
            "actions": actions,
        }
        for name, actions in _S3_ACTIONS.items()
    ]
    sections = ("signing", "signing.read", "filer_signing", "filer_signing.read")
    return {
        "secrets.json": json.dumps(values, indent=1),
        "s3.json": json.dumps({"identities": identities}, indent=1),
        "security.toml": "".join(
            f'[jwt.{name}]\nkey = "{values["s3_jwt"]}"\n' for name in sections
        ),
        **{
            f"{name}.env": "".join(f"{key}={value}\n" for key, value in pairs.items())
            for name, pairs in environments.items()
        },
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    # Containers read their files as users of their own, so not the files but the folder is closed.
    FOLDER.chmod(0o700)
    kept = FOLDER / "secrets.json"
    values = made() | (json.loads(kept.read_text()) if kept.exists() else {})
    for name, text in files(values).items():
        (FOLDER / name).write_text(text)
    sys.stdout.write(f"Secrets are in {FOLDER}; start with: docker compose up\n")


if __name__ == "__main__":
    main()
