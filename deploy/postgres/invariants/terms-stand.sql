-- The figures stamped at acceptance stand in offer, contract, escrow, fee and milestones.
SELECT c.id AS contract_id, e.id AS escrow_id, o.amount AS offered, c.deal->>'amount' AS agreed,
    e.amount AS held, e.fee, c.deal->'terms'->>'fee' AS fee_agreed
FROM contracts.contracts c
LEFT JOIN listings.offers o ON o.id = c.offer_id
LEFT JOIN escrow.escrows e ON e.contract_id = c.id
WHERE o.id IS NULL OR o.amount <> (c.deal->>'amount')::bigint OR o.currency <> c.deal->>'currency'
    OR e.deal <> c.deal OR e.amount <> (c.deal->>'amount')::bigint
    OR e.currency <> c.deal->>'currency' OR e.fee <> (c.deal->'terms'->>'fee')::bigint
    OR e.rail <> c.deal->'terms'->>'rail'
    OR e.seller_id <> c.seller_id OR e.buyer_id <> c.buyer_id
    OR (e.is_divided AND (SELECT row(sum(m.amount), sum(m.fee)) FROM escrow.milestone_escrows m
                          WHERE m.escrow_id = e.id)
        IS DISTINCT FROM row(e.amount::numeric, e.fee::numeric))
