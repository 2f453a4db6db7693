-- Every webhook about money was looked into, no payment came in twice, and none was seen and left.
SELECT 'webhook without a look' AS what, w.event_id AS id, w.type AS detail
FROM escrow.webhook_events w
WHERE w.object_id <> '' AND w.type ~ '^(payment_intent|transfer|refund|charge\.dispute)\.\w+$'
    AND NOT EXISTS (SELECT FROM escrow.jobs j WHERE j.job_key = 'webhook:' || w.event_id)
UNION ALL
SELECT 'payment posted twice', reference, string_agg(cause, ', ')
FROM escrow.ledger_transactions WHERE cause IN ('funded', 'misfit', 'late')
GROUP BY reference HAVING count(*) > 1
UNION ALL
SELECT 'payment that went back', i.id::text, i.state
FROM escrow.intents i
WHERE i.kind = 'fund' AND (i.provider_status = 'succeeded') <> (i.state = 'SETTLED')
