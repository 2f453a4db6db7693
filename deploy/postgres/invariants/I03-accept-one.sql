-- A listing has at most one accepted offer whose trade goes on, and is reserved by exactly that one.
SELECT listing_id, NULL::uuid AS offer_id, 'accepted twice' AS what FROM listings.offers
WHERE status = 'ACCEPTED' AND closed_at IS NULL GROUP BY listing_id HAVING count(*) > 1
UNION ALL
SELECT coalesce(l.id, o.listing_id), coalesce(o.id, l.reserved_by_offer_id), 'not reserved by it'
FROM (SELECT * FROM listings.offers WHERE status = 'ACCEPTED' AND closed_at IS NULL) o
FULL JOIN (SELECT * FROM listings.listings WHERE reserved_by_offer_id IS NOT NULL) l
    ON l.reserved_by_offer_id = o.id AND l.id = o.listing_id
WHERE o.id IS NULL OR l.id IS NULL
