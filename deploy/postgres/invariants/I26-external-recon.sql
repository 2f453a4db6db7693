-- The ledger agrees with Stripe to the cent; what differs is closed within two hours.
SELECT reference, currency, at_stripe, in_ledger, created_at AS since
FROM escrow.differences
WHERE closed_at IS NULL AND created_at < escrow.clock() - interval '2 hours'
UNION ALL
SELECT 'nobody compares them', NULL, NULL, NULL, escrow.clock()
WHERE NOT EXISTS (
    SELECT FROM escrow.jobs WHERE kind = 'stripe.reconcile'
        AND status IN ('PENDING', 'PROCESSING') AND run_at > escrow.clock() - interval '2 hours')
