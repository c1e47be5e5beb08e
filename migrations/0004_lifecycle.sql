-- Who is offboarded comes back as what it was.
ALTER TABLE tenants ADD COLUMN status_before TEXT;

-- When an instance asked last: one that is gone need not hold its place for ever.
ALTER TABLE activations ADD COLUMN seen_at INTEGER;
