-- Usage events, for queries and invoices. Apply with `npx wrangler d1 migrations apply USAGE_DB`.
CREATE TABLE usage_events (
  tenant TEXT NOT NULL,
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  time TEXT NOT NULL, -- RFC 3339, UTC
  metrics TEXT NOT NULL, -- JSON: the amount that each metric of the catalog counted
  data TEXT, -- JSON
  PRIMARY KEY (tenant, source, id)
) WITHOUT ROWID;
CREATE INDEX usage_events_by_time ON usage_events (tenant, time);
