-- What goes out of a payment, or may yet, never exceeds what came in.
SELECT source.id, source.escrow_id, coalesce(source.received, 0) AS received,
    sum(going.amount) AS going_out
FROM escrow.intents source JOIN escrow.intents going ON going.source_id = source.id
WHERE going.state NOT IN ('FAILED', 'NOT_EXECUTED')
GROUP BY source.id, source.escrow_id, source.received
HAVING sum(going.amount) > coalesce(source.received, 0)
