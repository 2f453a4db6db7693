-- The events of an aggregate are numbered without a gap up to the last number given out.
WITH recorded AS (
    SELECT 'identity' AS service, * FROM identity.outbox_sequences
    UNION ALL SELECT 'listings', * FROM listings.outbox_sequences
    UNION ALL SELECT 'contracts', * FROM contracts.outbox_sequences
    UNION ALL SELECT 'escrow', * FROM escrow.outbox_sequences
), kept AS (
    SELECT 'identity' AS service, aggregate_id, sequence FROM identity.outbox
    UNION ALL SELECT 'listings', aggregate_id, sequence FROM listings.outbox
    UNION ALL SELECT 'contracts', aggregate_id, sequence FROM contracts.outbox
    UNION ALL SELECT 'escrow', aggregate_id, sequence FROM escrow.outbox
)
SELECT service, aggregate_id, min(sequence) AS first, max(sequence) AS last, count(*) AS kept,
    max(recorded.last) AS given_out
FROM kept LEFT JOIN recorded USING (service, aggregate_id)
GROUP BY service, aggregate_id
HAVING count(*) <> max(sequence) - min(sequence) + 1
    OR max(sequence) IS DISTINCT FROM max(recorded.last)
