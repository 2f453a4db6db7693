"""What every process of the stack is told: addresses, logins and secrets, all by environment."""

from bloxtr8 import kafka, objects, postgres, seal
from bloxtr8.home import SERVICES, Home

STRIPE_API_KEY = "sk_test_bloxtr8"


def public_url(home: Home) -> str:
    return f"http://127.0.0.1:{home.ports['gateway']}"


def simulators_url(home: Home) -> str:
    return f"http://127.0.0.1:{home.ports['simulators']}"


def _common(home: Home, service: str, process: str, *, for_tests: bool) -> dict[str, str]:
    prefix = service.upper()
    values = {
        "ENVIRONMENT": "test" if for_tests else "local",
        "DATABASE_URL": postgres.role_url(home, f"{service}_app"),
        "PORT": str(home.ports[f"{service}.api"]),
        "OPS_PORT": str(home.ports[f"{service}.{process}_ops"]),
        "PUBLIC_URL": public_url(home),
        "JWT_ISSUER": public_url(home),
        "JWKS_URL": f"http://127.0.0.1:{home.ports['identity.api']}/.well-known/jwks.json",
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers(home),
        "KAFKA_USERNAME": service,
        "KAFKA_PASSWORD": home.secret(f"kafka_{service}"),
        "KAFKA_USE_SSL": str(kafka.uses_ssl()).lower(),
        "KAFKA_SESSION_TIMEOUT_MS": "1500" if for_tests else "10000",
    }
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _own(home: Home, service: str) -> dict[str, str]:
    """What only this service needs."""
    world = simulators_url(home)
    match service:
        case "identity":
            return {
                "IDENTITY_ENCRYPTION_KEY": home.secret("identity_encryption"),
                "IDENTITY_DISCORD_CLIENT_ID": "bloxtr8",
                "IDENTITY_DISCORD_CLIENT_SECRET": home.secret("discord"),
                "IDENTITY_DISCORD_AUTHORIZE_URL": f"{world}/discord/oauth2/authorize",
                "IDENTITY_DISCORD_TOKEN_URL": f"{world}/discord/api/oauth2/token",
                "IDENTITY_DISCORD_API_URL": f"{world}/discord/api",
                "IDENTITY_ROBLOX_CLIENT_ID": "bloxtr8",
                "IDENTITY_ROBLOX_CLIENT_SECRET": home.secret("roblox"),
                "IDENTITY_ROBLOX_OAUTH_URL": f"{world}/roblox/oauth",
                "IDENTITY_ROBLOX_GAMES_URL": f"{world}/roblox/games",
                "IDENTITY_ROBLOX_GROUPS_URL": f"{world}/roblox/groups",
                "IDENTITY_ROBLOX_THUMBNAILS_URL": f"{world}/roblox/thumbnails",
            }
        case "contracts":
            access, secret = objects.keys(home, "contracts")
            store, root = seal.make(home)
            return {
                "CONTRACTS_S3_ENDPOINT_URL": objects.endpoint(home),
                "CONTRACTS_S3_ACCESS_KEY": access,
                "CONTRACTS_S3_SECRET_KEY": secret,
                "CONTRACTS_S3_BUCKET": objects.BUCKET,
                "CONTRACTS_S3_REGION": objects.REGION,
                "CONTRACTS_RETENTION_YEARS": "0",
                "CONTRACTS_SEAL_PKCS12_FILE": str(store),
                "CONTRACTS_SEAL_PKCS12_PASSWORD": home.secret("seal"),
                "CONTRACTS_SEAL_ROOT_FILE": str(root),
                "CONTRACTS_PICTURES_ORIGIN": world,
            }
        case "escrow":
            access, secret = objects.keys(home, "escrow")
            return {
                "ESCROW_S3_ENDPOINT_URL": objects.endpoint(home),
                "ESCROW_S3_ACCESS_KEY": access,
                "ESCROW_S3_SECRET_KEY": secret,
                "ESCROW_S3_BUCKET": objects.EVIDENCE_BUCKET,
                "ESCROW_S3_REGION": objects.REGION,
                "ESCROW_STRIPE_API_KEY": STRIPE_API_KEY,
                "ESCROW_STRIPE_API_URL": f"{world}/stripe",
                "ESCROW_STRIPE_WEBHOOK_SECRETS": home.secret("stripe_webhook"),
            }
        case _:
            return {}


def of_service(home: Home, service: str, process: str, *, for_tests: bool) -> dict[str, str]:
    return _common(home, service, process, for_tests=for_tests) | _own(home, service)


def of_simulators(home: Home) -> dict[str, str]:
    return {
        "SIMULATORS_HOST": "127.0.0.1",
        "SIMULATORS_PORT": str(home.ports["simulators"]),
        "SIMULATORS_STRIPE_WEBHOOK_URL": f"{public_url(home)}/v1/webhooks/stripe",
        "SIMULATORS_STRIPE_WEBHOOK_SECRET": home.secret("stripe_webhook"),
        "SIMULATORS_STRIPE_API_KEY": STRIPE_API_KEY,
        "SIMULATORS_DISCORD_CLIENT_ID": "bloxtr8",
        "SIMULATORS_DISCORD_CLIENT_SECRET": home.secret("discord"),
        "SIMULATORS_ROBLOX_CLIENT_ID": "bloxtr8",
        "SIMULATORS_ROBLOX_CLIENT_SECRET": home.secret("roblox"),
        "SIMULATORS_STATE_FILE": str(home.path / "simulators.json"),
    }


def of_gateway(home: Home) -> dict[str, str]:
    apis = {
        f"{service.upper()}_API": f"127.0.0.1:{home.ports[f'{service}.api']}"
        for service in SERVICES
    }
    return apis | {
        "GATEWAY_ADDRESS": f"http://:{home.ports['gateway']}",
        "GATEWAY_BIND": "127.0.0.1",
        "GATEWAY_STORAGE": str(home.path / "caddy"),
        "XDG_CONFIG_HOME": str(home.path / "caddy"),
        "XDG_DATA_HOME": str(home.path / "caddy"),
    }
