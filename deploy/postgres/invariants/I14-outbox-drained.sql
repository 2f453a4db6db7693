-- No event waits for more than a minute to be published.
SELECT service, event_id, topic, created_at FROM (
    SELECT 'identity' AS service, event_id, topic, created_at, identity.clock() AS now
    FROM identity.outbox WHERE published_at IS NULL
    UNION ALL SELECT 'listings', event_id, topic, created_at, listings.clock()
    FROM listings.outbox WHERE published_at IS NULL
    UNION ALL SELECT 'contracts', event_id, topic, created_at, contracts.clock()
    FROM contracts.outbox WHERE published_at IS NULL
    UNION ALL SELECT 'escrow', event_id, topic, created_at, escrow.clock()
    FROM escrow.outbox WHERE published_at IS NULL
) AS waiting
WHERE created_at < now - interval '1 minute'
