-- What an escrow was funded with is held, or has left it: nothing else, nothing in between.
WITH ledger AS (
    SELECT escrow_id, currency, sum(amount) AS held,
        sum(amount) FILTER (WHERE amount > 0) AS funded
    FROM escrow.ledger_entries WHERE account = 'escrow:held' GROUP BY escrow_id, currency
), gone AS (
    SELECT escrow_id, sum(amount) AS amount FROM (
        SELECT i.escrow_id, i.amount FROM escrow.intents i
        LEFT JOIN escrow.milestone_escrows m ON m.id = i.milestone_id
        WHERE i.kind = 'refund' AND i.state = 'SETTLED' AND m.ended_at IS NULL
        UNION ALL
        SELECT escrow_id, amount FROM escrow.milestone_escrows WHERE ended_at IS NOT NULL
    ) AS leg GROUP BY escrow_id
), expected AS (
    SELECT e.id, e.currency, e.status,
        CASE WHEN e.status IN ('AWAIT_FUNDS', 'CANCELLED') THEN 0 ELSE e.amount END AS funded,
        CASE WHEN e.status IN ('FUNDS_HELD', 'DELIVERED', 'DISPUTED')
            THEN e.amount - coalesce(g.amount, 0) ELSE 0 END AS held
    FROM escrow.escrows e LEFT JOIN gone g ON g.escrow_id = e.id
)
SELECT coalesce(x.id, l.escrow_id) AS escrow_id, x.status, coalesce(x.currency, l.currency) AS currency,
    x.funded AS funded_expected, coalesce(l.funded, 0) AS funded,
    x.held AS held_expected, coalesce(l.held, 0) AS held
FROM expected x FULL JOIN ledger l ON l.escrow_id = x.id AND l.currency = x.currency
WHERE x.id IS NULL OR x.funded <> coalesce(l.funded, 0) OR x.held <> coalesce(l.held, 0)
