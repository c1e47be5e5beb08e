-- Data routes. A shard and a name belong to one tenant permanently.
CREATE TABLE data_routes (
  shard TEXT NOT NULL,      -- empty: no shard
  name TEXT NOT NULL,
  tenant TEXT NOT NULL,
  PRIMARY KEY (shard, name)
) WITHOUT ROWID;
INSERT OR IGNORE INTO data_routes (shard, name, tenant)
  SELECT coalesce(json_extract(record, '$.data_route.shard'), ''), json_extract(record, '$.data_route.name'), id
  FROM tenants WHERE json_extract(record, '$.data_route.name') IS NOT NULL ORDER BY created_at;

-- The token that issued this token; null: the operator. Revoking a token ends the tokens it issued.
ALTER TABLE admin_tokens ADD COLUMN maker TEXT;

-- For deleting API keys some time after they have expired or were revoked.
CREATE INDEX api_keys_ended ON api_keys (coalesce(json_extract(record, '$.revoked_at'), json_extract(record, '$.expires_at')));

-- An activation counts until the last token that was signed for it has expired.
ALTER TABLE activations ADD COLUMN until INTEGER;
ALTER TABLE activations ADD COLUMN ended_at INTEGER;

-- A sample of denials: one row for each tenant, code and day, for all isolates together. Denials
-- are not part of the audit trail, which is append-only and orders changes.
CREATE TABLE denials (
  tenant TEXT NOT NULL,
  code TEXT NOT NULL,
  day INTEGER NOT NULL,
  count INTEGER NOT NULL,
  said TEXT NOT NULL,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, code, day)
) WITHOUT ROWID;
CREATE INDEX denials_by_day ON denials (day);
