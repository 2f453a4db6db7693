"""Listings, offers, snapshots, and what listings knows of users and verifications."""

from alembic import op

from shared.migrations import create_infrastructure_v1, execute_script, grant_dml

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_infrastructure_v1(op, "listings")
    execute_script(
        op,
        """
CREATE TABLE listings (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    game_id text NOT NULL,
    guild_id uuid,
    title text NOT NULL CHECK (length(title) BETWEEN 1 AND 120),
    summary text NOT NULL CHECK (length(summary) BETWEEN 1 AND 4000),
    category text NOT NULL,
    price bigint NOT NULL CHECK (price BETWEEN 1 AND 1000000000000),
    visibility text NOT NULL CHECK (visibility IN ('PUBLIC', 'PRIVATE')),
    status text NOT NULL CHECK (status IN ('ACTIVE', 'INACTIVE', 'SOLD')),
    is_taken_down boolean NOT NULL DEFAULT false,
    reserved_by_offer_id uuid,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock(),
    CHECK (reserved_by_offer_id IS NULL OR status = 'INACTIVE')
);
CREATE UNIQUE INDEX listings_game_offered_once ON listings (game_id)
    WHERE status = 'ACTIVE' OR reserved_by_offer_id IS NOT NULL;
CREATE INDEX ON listings (user_id);
CREATE INDEX ON listings (guild_id);
CREATE INDEX ON listings (status, id);
CREATE INDEX ON listings (category);

CREATE TABLE roblox_snapshots (
    id uuid PRIMARY KEY,
    listing_id uuid NOT NULL REFERENCES listings,
    game_id text NOT NULL,
    game_name text NOT NULL,
    game_description text,
    thumbnail_url text,
    player_count bigint,
    visits bigint,
    created_date timestamptz,
    verified_ownership boolean NOT NULL,
    ownership_type text NOT NULL CHECK (ownership_type IN ('OWNER', 'ADMIN', 'DEVELOPER')),
    verification_date timestamptz,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock()
);
CREATE INDEX ON roblox_snapshots (game_id);
CREATE INDEX ON roblox_snapshots (listing_id, id);
CREATE INDEX ON roblox_snapshots (verified_ownership);

CREATE TABLE offers (
    id uuid PRIMARY KEY,
    root_offer_id uuid NOT NULL,
    parent_id uuid REFERENCES offers,
    listing_id uuid NOT NULL REFERENCES listings,
    listing_version bigint NOT NULL,
    buyer_id uuid NOT NULL,
    seller_id uuid NOT NULL,
    proposed_by uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount BETWEEN 50 AND 1000000000000),
    currency text NOT NULL,
    conditions text CHECK (length(conditions) <= 1000),
    expiry timestamptz NOT NULL,
    status text NOT NULL
        CHECK (status IN ('PENDING', 'ACCEPTED', 'COUNTERED', 'DECLINED', 'EXPIRED')),
    reason text,
    accepted_at timestamptz,
    closed_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock(),
    updated_at timestamptz NOT NULL DEFAULT clock(),
    CHECK (buyer_id <> seller_id),
    CHECK (proposed_by IN (buyer_id, seller_id)),
    CHECK (currency = CASE WHEN amount <= 1000000 THEN 'USD' ELSE 'USDC' END),
    CHECK ((status = 'ACCEPTED') = (accepted_at IS NOT NULL))
);
CREATE UNIQUE INDEX offers_one_accepted ON offers (listing_id)
    WHERE status = 'ACCEPTED' AND closed_at IS NULL;
CREATE UNIQUE INDEX offers_one_open ON offers (listing_id, buyer_id) WHERE status = 'PENDING';
CREATE INDEX ON offers (buyer_id, id);
CREATE INDEX ON offers (seller_id, id);
CREATE INDEX ON offers (status);
CREATE INDEX ON offers (expiry);

CREATE TABLE users (
    id uuid PRIMARY KEY,
    version bigint NOT NULL,
    card jsonb NOT NULL,
    is_frozen boolean NOT NULL
);

CREATE TABLE verifications (
    user_id uuid NOT NULL,
    game_id text NOT NULL,
    version bigint NOT NULL,
    is_verified boolean NOT NULL,
    ownership_type text NOT NULL,
    checked_at timestamptz NOT NULL,
    valid_until timestamptz,
    game jsonb,
    PRIMARY KEY (user_id, game_id),
    CHECK (is_verified = (valid_until IS NOT NULL AND game IS NOT NULL))
);
""",
    )
    grant_dml(op, "listings", "listings", "roblox_snapshots", "offers", "users", "verifications")
