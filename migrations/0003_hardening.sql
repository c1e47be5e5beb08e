-- Where tenants' data is: each place is one tenant's, for good.
CREATE TABLE data_routes (
  shard TEXT NOT NULL,      -- empty: there are no shards
  name TEXT NOT NULL,
  tenant TEXT NOT NULL,
  PRIMARY KEY (shard, name)
) WITHOUT ROWID;
INSERT OR IGNORE INTO data_routes (shard, name, tenant)
  SELECT coalesce(json_extract(record, '$.data_route.shard'), ''), json_extract(record, '$.data_route.name'), id
  FROM tenants WHERE json_extract(record, '$.data_route.name') IS NOT NULL ORDER BY created_at;

-- The token that issued it; null: the operator did. A token ends with its maker.
ALTER TABLE admin_tokens ADD COLUMN maker TEXT;

-- API keys that have ended are deleted some time later.
CREATE INDEX api_keys_ended ON api_keys (coalesce(json_extract(record, '$.revoked_at'), json_extract(record, '$.expires_at')));

-- An activation holds its place until the last token that was signed for it has ended.
ALTER TABLE activations ADD COLUMN until INTEGER;
ALTER TABLE activations ADD COLUMN ended_at INTEGER;

-- Denials, a sample: one row a tenant, code and day, however many isolates count. They are not part of the trail, which nobody may
-- shorten and which orders changes.
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
