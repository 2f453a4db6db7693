-- No service can change or remove a ledger entry, an audit row or a signature.
SELECT kept.place, kept.login, right_.name AS may
FROM (VALUES
    ('escrow.ledger_transactions', 'escrow_app'), ('escrow.ledger_entries', 'escrow_app'),
    ('escrow.webhook_events', 'escrow_app'), ('contracts.signatures', 'contracts_app'),
    ('identity.audit_logs', 'identity_app'), ('listings.audit_logs', 'listings_app'),
    ('contracts.audit_logs', 'contracts_app'), ('escrow.audit_logs', 'escrow_app')
) AS kept (place, login)
CROSS JOIN (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE')) AS right_ (name)
WHERE has_table_privilege(kept.login, kept.place, right_.name)
UNION ALL
SELECT guarded.place, 'everyone', 'change: no trigger refuses it'
FROM (VALUES
    ('escrow.ledger_transactions'), ('escrow.ledger_entries'), ('escrow.webhook_events'),
    ('contracts.signatures'), ('contracts.audit_logs')
) AS guarded (place)
WHERE NOT EXISTS (
    SELECT FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(guarded.place) AND f.proname = 'refuse_change'
        AND t.tgenabled IN ('O', 'A'))
