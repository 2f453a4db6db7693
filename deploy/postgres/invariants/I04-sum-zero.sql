-- Every ledger transaction has entries and sums to zero in each currency.
SELECT t.id, e.currency, sum(e.amount) AS off_by
FROM escrow.ledger_transactions t LEFT JOIN escrow.ledger_entries e ON e.transaction_id = t.id
GROUP BY t.id, e.currency HAVING sum(e.amount) IS DISTINCT FROM 0
