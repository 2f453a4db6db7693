-- Nothing is more than a minute past its deadline.
SELECT 'identity' AS service, aggregate_id, kind, due_at FROM identity.deadlines
WHERE done_at IS NULL AND due_at < identity.clock() - interval '1 minute'
UNION ALL
SELECT 'listings', aggregate_id, kind, due_at FROM listings.deadlines
WHERE done_at IS NULL AND due_at < listings.clock() - interval '1 minute'
UNION ALL
SELECT 'contracts', aggregate_id, kind, due_at FROM contracts.deadlines
WHERE done_at IS NULL AND due_at < contracts.clock() - interval '1 minute'
UNION ALL
SELECT 'escrow', aggregate_id, kind, due_at FROM escrow.deadlines
WHERE done_at IS NULL AND due_at < escrow.clock() - interval '1 minute'
