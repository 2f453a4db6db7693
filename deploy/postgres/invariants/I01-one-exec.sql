-- A contract is executed at most once, and at most one escrow comes of it.
SELECT contract_id, 'execution jobs' AS what, count(*) FROM contracts.contract_execution_jobs
GROUP BY contract_id HAVING count(*) > 1
UNION ALL
SELECT aggregate_id::uuid, 'announcements', count(DISTINCT event_id) FROM contracts.outbox
WHERE topic = 'contract.executed' GROUP BY aggregate_id HAVING count(DISTINCT event_id) > 1
UNION ALL
SELECT contract_id, 'escrows', count(*) FROM escrow.escrows
GROUP BY contract_id HAVING count(*) > 1
