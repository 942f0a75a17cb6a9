-- Deliveries are claimed by endpoint: account, environment and URL without its query. The key is computed by the program when it inserts a
-- delivery; those that have none get theirs when they are next due.
ALTER TABLE deliveries ADD COLUMN endpoint TEXT NOT NULL DEFAULT '';
DROP INDEX deliveries_due;
CREATE INDEX deliveries_by_endpoint ON deliveries (lane, endpoint, next_attempt_at, id)
    WHERE lease_expires_at IS NULL AND next_attempt_at IS NOT NULL;
