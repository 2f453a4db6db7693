-- Nothing waits for a step that nobody will take.
SELECT 'intent in doubt' AS what, id, updated_at AS since FROM escrow.intents
WHERE state = 'IN_DOUBT' AND first_called_at < escrow.clock() - interval '15 minutes'
    AND first_called_at > escrow.clock() - interval '23 hours'
UNION ALL
SELECT 'job without a worker', id, lease_until FROM (
    SELECT id, status, lease_until, identity.clock() AS now FROM identity.jobs
    UNION ALL SELECT id, status, lease_until, listings.clock() FROM listings.jobs
    UNION ALL SELECT id, status, lease_until, contracts.clock() FROM contracts.jobs
    UNION ALL SELECT id, status, lease_until, contracts.clock() FROM contracts.contract_execution_jobs
    UNION ALL SELECT id, status, lease_until, escrow.clock() FROM escrow.jobs
) AS working
WHERE status = 'PROCESSING' AND lease_until < now - interval '1 minute'
UNION ALL
SELECT 'contract without an execution', c.id, c.updated_at FROM contracts.contracts c
WHERE c.status = 'EXECUTING' AND c.updated_at < contracts.clock() - interval '2 minutes'
    AND NOT EXISTS (SELECT FROM contracts.contract_execution_jobs j
                    WHERE j.contract_id = c.id AND j.status IN ('PENDING', 'PROCESSING'))
UNION ALL
SELECT 'accepted offer without a contract', o.id, o.accepted_at FROM listings.offers o
WHERE o.status = 'ACCEPTED' AND o.closed_at IS NULL
    AND o.accepted_at < listings.clock() - interval '2 minutes'
    AND NOT EXISTS (SELECT FROM contracts.contracts c WHERE c.offer_id = o.id)
UNION ALL
SELECT 'executed contract without an escrow', c.id, c.executed_at FROM contracts.contracts c
WHERE c.status = 'EXECUTED' AND c.executed_at < contracts.clock() - interval '2 minutes'
    AND NOT EXISTS (SELECT FROM escrow.escrows e WHERE e.contract_id = c.id)
