-- What a service knows of a user or a verification is not newer than identity's, nor a minute older.
WITH known AS (
    SELECT 'listings' AS service, id, version FROM listings.users
    UNION ALL SELECT 'contracts', id, version FROM contracts.users
    UNION ALL SELECT 'escrow', id, version FROM escrow.users
), checked AS (
    SELECT 'listings' AS service, user_id, game_id, version FROM listings.verifications
    UNION ALL SELECT 'escrow', user_id, game_id, version FROM escrow.asset_verifications
)
SELECT k.service, 'user' AS what, k.id::text AS id, k.version, u.version AS version_of_identity
FROM known k LEFT JOIN identity.users u USING (id)
WHERE u.id IS NULL OR k.version > u.version
    OR (k.version < u.version AND u.updated_at < identity.clock() - interval '1 minute')
UNION ALL
SELECT c.service, 'verification', c.user_id || ' of game ' || c.game_id, c.version, v.version
FROM checked c LEFT JOIN identity.asset_verifications v USING (user_id, game_id)
WHERE v.version IS NULL OR c.version > v.version
