-- Every move in the audit trail is one that the lifecycles allow.
WITH allowed (subject_type, before, after) AS (VALUES
    ('contract', 'EXECUTING', 'EXECUTED'),
    ('contract', 'EXECUTING', 'EXECUTION_FAILED'),
    ('contract', 'EXECUTION_FAILED', 'EXECUTING'),
    ('contract', 'EXECUTION_FAILED', 'VOID'),
    ('contract', 'PENDING_SIGNATURE', 'EXECUTING'),
    ('contract', 'PENDING_SIGNATURE', 'VOID'),
    ('dispute', 'IN_REVIEW', 'CLOSED'),
    ('dispute', 'IN_REVIEW', 'RESOLVED'),
    ('dispute', 'OPEN', 'CLOSED'),
    ('dispute', 'OPEN', 'IN_REVIEW'),
    ('escrow', 'AWAIT_FUNDS', 'AWAIT_FUNDS'),
    ('escrow', 'AWAIT_FUNDS', 'CANCELLED'),
    ('escrow', 'AWAIT_FUNDS', 'FUNDS_HELD'),
    ('escrow', 'DELIVERED', 'DISPUTED'),
    ('escrow', 'DELIVERED', 'REFUNDED'),
    ('escrow', 'DELIVERED', 'RELEASED'),
    ('escrow', 'DISPUTED', 'DELIVERED'),
    ('escrow', 'DISPUTED', 'FUNDS_HELD'),
    ('escrow', 'DISPUTED', 'REFUNDED'),
    ('escrow', 'DISPUTED', 'RELEASED'),
    ('escrow', 'FUNDS_HELD', 'DELIVERED'),
    ('escrow', 'FUNDS_HELD', 'DISPUTED'),
    ('escrow', 'FUNDS_HELD', 'REFUNDED'),
    ('escrow', 'FUNDS_HELD', 'RELEASED'),
    ('listing', 'ACTIVE', 'INACTIVE'),
    ('listing', 'INACTIVE', 'ACTIVE'),
    ('listing', 'INACTIVE', 'SOLD'),
    ('milestone', 'AWAIT_FUNDS', 'CANCELLED'),
    ('milestone', 'AWAIT_FUNDS', 'FUNDS_HELD'),
    ('milestone', 'DELIVERED', 'DISPUTED'),
    ('milestone', 'DELIVERED', 'REFUNDED'),
    ('milestone', 'DELIVERED', 'RELEASED'),
    ('milestone', 'DISPUTED', 'DELIVERED'),
    ('milestone', 'DISPUTED', 'FUNDS_HELD'),
    ('milestone', 'DISPUTED', 'REFUNDED'),
    ('milestone', 'DISPUTED', 'RELEASED'),
    ('milestone', 'FUNDS_HELD', 'DELIVERED'),
    ('milestone', 'FUNDS_HELD', 'DISPUTED'),
    ('milestone', 'FUNDS_HELD', 'REFUNDED'),
    ('offer', 'PENDING', 'ACCEPTED'),
    ('offer', 'PENDING', 'COUNTERED'),
    ('offer', 'PENDING', 'DECLINED'),
    ('offer', 'PENDING', 'EXPIRED')
), moves AS (
    SELECT service, subject_type, subject_id, action, details->>'to' AS after,
        coalesce(details->>'from', lag(details->>'to') OVER (
            -- Numbers first: rows are sorted in half the time.
            PARTITION BY hashtext(subject_id), service, subject_type, subject_id
            ORDER BY created_at, id)) AS before
    FROM (
        SELECT 'listings' AS service, * FROM (SELECT id, subject_type, subject_id, action, details, created_at FROM listings.audit_logs) a
        UNION ALL SELECT 'contracts', * FROM (SELECT id, subject_type, subject_id, action, details, created_at FROM contracts.audit_logs) a
        UNION ALL SELECT 'escrow', * FROM (SELECT id, subject_type, subject_id, action, details, created_at FROM escrow.audit_logs) a
    ) AS every
    WHERE details ? 'to' AND subject_type IN (SELECT subject_type FROM allowed)
)
SELECT * FROM moves
WHERE before IS NOT NULL AND before <> after
    AND (subject_type, before, after) NOT IN (SELECT * FROM allowed)
