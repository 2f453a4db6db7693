-- An executed contract was signed by both sides, over its own hash, before it was executed.
SELECT c.id, c.status, party.id AS unsigned_by
FROM contracts.contracts c CROSS JOIN LATERAL (VALUES (c.seller_id), (c.buyer_id)) AS party (id)
WHERE c.status IN ('EXECUTING', 'EXECUTED', 'EXECUTION_FAILED') AND NOT EXISTS (
    SELECT FROM contracts.signatures s
    WHERE s.contract_id = c.id AND s.user_id = party.id AND s.document_sha256 = c.sha256
        AND (c.executed_at IS NULL OR s.signed_at <= c.executed_at))
