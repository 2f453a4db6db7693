-- What goes out of a payment, or may yet, never exceeds what came in, nor a milestone's its amount.
SELECT source.id, source.escrow_id, coalesce(source.received, 0) AS received,
    sum(going.amount) AS going_out
FROM escrow.intents source JOIN escrow.intents going ON going.source_id = source.id
WHERE going.state NOT IN ('FAILED', 'NOT_EXECUTED')
GROUP BY source.id, source.escrow_id, source.received
HAVING sum(going.amount) > coalesce(source.received, 0)
UNION ALL
SELECT m.id, m.escrow_id, m.amount, sum(going.amount)
FROM escrow.milestone_escrows m JOIN escrow.intents going ON going.milestone_id = m.id
WHERE going.state NOT IN ('FAILED', 'NOT_EXECUTED')
GROUP BY m.id, m.escrow_id, m.amount
HAVING sum(going.amount) > m.amount
