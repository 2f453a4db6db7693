-- The events of an aggregate are numbered without a gap up to the last number given out.
WITH recorded AS (
    SELECT 'identity' AS service, * FROM identity.outbox_sequences
    UNION ALL SELECT 'listings', * FROM listings.outbox_sequences
    UNION ALL SELECT 'contracts', * FROM contracts.outbox_sequences
    UNION ALL SELECT 'escrow', * FROM escrow.outbox_sequences
), every AS (
    SELECT 'identity' AS service, aggregate_id, sequence FROM identity.outbox
    UNION ALL SELECT 'listings', aggregate_id, sequence FROM listings.outbox
    UNION ALL SELECT 'contracts', aggregate_id, sequence FROM contracts.outbox
    UNION ALL SELECT 'escrow', aggregate_id, sequence FROM escrow.outbox
), kept AS (
    SELECT service, aggregate_id, min(sequence) AS first, max(sequence) AS last, count(*) AS kept
    FROM every GROUP BY service, aggregate_id
)
SELECT service, aggregate_id, kept.first, kept.last, kept.kept, recorded.last AS given_out
FROM kept LEFT JOIN recorded USING (service, aggregate_id)
WHERE kept.kept <> kept.last - kept.first + 1 OR kept.last IS DISTINCT FROM recorded.last
