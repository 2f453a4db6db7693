-- Every intent that is settled is posted with its own amount, and no payment is posted without one.
WITH posted AS (
    SELECT t.id, t.reference, t.cause, abs(sum(e.amount)) AS amount, min(e.currency) AS currency
    FROM escrow.ledger_transactions t JOIN escrow.ledger_entries e ON e.transaction_id = t.id
    WHERE t.cause IN ('funded', 'misfit', 'late', 'released', 'refunded', 'returned', 'reversed')
        AND e.account = 'stripe:balance'
    GROUP BY t.id
), settled AS (
    SELECT id, object_id, kind, coalesce(received, amount) AS amount FROM escrow.intents
    WHERE state = 'SETTLED' AND kind <> 'account'
)
SELECT i.id AS intent_id, i.kind, i.amount AS intended, p.id AS transaction_id, p.cause, p.amount AS posted
FROM settled i FULL JOIN posted p ON p.reference = i.object_id
WHERE i.id IS NULL OR p.id IS NULL OR i.amount <> p.amount
