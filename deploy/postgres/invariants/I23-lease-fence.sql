-- An execution job is completed exactly when its contract is executed.
SELECT c.id AS contract_id, c.status AS contract, j.status AS job
FROM contracts.contracts c FULL JOIN contracts.contract_execution_jobs j ON j.contract_id = c.id
WHERE (c.status = 'EXECUTED') IS DISTINCT FROM coalesce(j.status = 'COMPLETED', false)
