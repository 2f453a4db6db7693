-- No liability was below zero at any moment.
SELECT id AS entry_id, account, escrow_id, currency, balance FROM (
    SELECT e.id, e.account, e.escrow_id, e.currency, sum(e.amount) OVER (
        PARTITION BY e.account, e.escrow_id, e.currency ORDER BY t.posted_at, e.transaction_id
        RANGE UNBOUNDED PRECEDING) AS balance
    FROM escrow.ledger_entries e
    JOIN escrow.ledger_transactions t ON t.id = e.transaction_id
    JOIN escrow.ledger_accounts a ON a.code = e.account AND a.kind = 'LIABILITY'
) AS running
WHERE balance < 0
