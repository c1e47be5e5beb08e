-- The status before offboarding, which reactivation restores.
ALTER TABLE tenants ADD COLUMN status_before TEXT;

-- The last time that an instance validated the licence. An instance that has disappeared need not
-- count forever.
ALTER TABLE activations ADD COLUMN seen_at INTEGER;
