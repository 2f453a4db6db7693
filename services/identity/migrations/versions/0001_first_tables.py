"""Users, accounts, sessions, sign-in states, signing keys and asset verifications."""

from alembic import op

from shared.migrations import create_infrastructure_v1, execute_script, grant_dml

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_infrastructure_v1(op, "identity")
    execute_script(
        op,
        """
CREATE TABLE users (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    email text UNIQUE,
    email_verified boolean NOT NULL DEFAULT false,
    phone text,
    image text,
    kyc_tier text NOT NULL DEFAULT 'TIER_0' CHECK (kyc_tier IN ('TIER_0', 'TIER_1', 'TIER_2')),
    kyc_verified boolean NOT NULL DEFAULT false,
    wallet_address text,
    wallet_risk text NOT NULL DEFAULT 'UNKNOWN'
        CHECK (wallet_risk IN ('UNKNOWN', 'LOW', 'MEDIUM', 'HIGH', 'SANCTIONED')),
    roles jsonb NOT NULL DEFAULT '[]',
    is_frozen boolean NOT NULL DEFAULT false,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock(),
    CHECK (kyc_verified = (kyc_tier <> 'TIER_0'))
);
CREATE INDEX ON users (wallet_address);

CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    account_id text NOT NULL,
    provider_id text NOT NULL CHECK (provider_id IN ('discord', 'roblox')),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    account_name text NOT NULL,
    refresh_token bytea,
    scope text,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock(),
    UNIQUE (provider_id, account_id),
    UNIQUE (user_id, provider_id)
);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_hash bytea NOT NULL UNIQUE,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    ip_address text,
    user_agent text,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock()
);
CREATE INDEX ON sessions (user_id);

CREATE TABLE oauth_states (
    state_hash bytea PRIMARY KEY,
    provider_id text NOT NULL,
    browser_hash bytea NOT NULL,
    code_verifier text NOT NULL,
    nonce text NOT NULL,
    user_id uuid REFERENCES users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX ON oauth_states (expires_at);

CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    public_jwk jsonb NOT NULL,
    private_key bytea NOT NULL,
    signs_from timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock()
);

CREATE TABLE asset_verifications (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    game_id text NOT NULL,
    verification_status text NOT NULL
        CHECK (verification_status IN ('PENDING', 'VERIFIED', 'FAILED', 'EXPIRED')),
    verification_method text NOT NULL
        CHECK (verification_method IN ('GAME_OWNERSHIP_API', 'GAME_PERMISSIONS_API', 'MANUAL')),
    ownership_type text NOT NULL CHECK (ownership_type IN ('OWNER', 'ADMIN', 'DEVELOPER')),
    verified_at timestamptz,
    expires_at timestamptz,
    reason text,
    metadata jsonb,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock(),
    UNIQUE (user_id, game_id)
);
CREATE INDEX ON asset_verifications (game_id);
CREATE INDEX ON asset_verifications (verification_status);
""",
    )
    grant_dml(
        op,
        "identity",
        "users",
        "accounts",
        "sessions",
        "oauth_states",
        "signing_keys",
        "asset_verifications",
    )
