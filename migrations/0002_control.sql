-- The system of record of the control plane. Documents are stored in their published form, next to
-- the columns that queries search.

CREATE TABLE tenants (
  id TEXT PRIMARY KEY,
  slug TEXT NOT NULL,
  name TEXT,
  status TEXT NOT NULL,
  plan TEXT,                -- its own plan version; null: its parent's
  parent TEXT,
  root TEXT NOT NULL,       -- the root of its family, which names the ledger
  epoch INTEGER NOT NULL,
  record TEXT NOT NULL,     -- the document, as JSON
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  ends_at INTEGER,          -- when its next override, contract or trial ends
  purge_at INTEGER          -- when it is deleted permanently
);
CREATE INDEX tenants_by_slug ON tenants (slug);
CREATE INDEX tenants_by_plan ON tenants (plan, id);
CREATE INDEX tenants_by_parent ON tenants (parent, id);
CREATE INDEX tenants_by_status ON tenants (status, id);
CREATE INDEX tenants_by_end ON tenants (ends_at) WHERE ends_at IS NOT NULL;
CREATE INDEX tenants_by_purge ON tenants (purge_at) WHERE purge_at IS NOT NULL;

-- Slugs, each of one tenant. A released slug is unavailable until its quarantine ends.
CREATE TABLE slugs (
  slug TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  free_at INTEGER           -- the end of the quarantine; null: in use
) WITHOUT ROWID;

-- Domains. Several tenants may claim a host, but only one may verify it.
CREATE TABLE domains (
  host TEXT NOT NULL,
  tenant TEXT NOT NULL,
  proof TEXT NOT NULL,
  claimed_at INTEGER NOT NULL,
  verified_at INTEGER,
  PRIMARY KEY (host, tenant)
) WITHOUT ROWID;
CREATE UNIQUE INDEX domains_verified ON domains (host) WHERE verified_at IS NOT NULL;
CREATE INDEX domains_by_tenant ON domains (tenant);

CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  record TEXT NOT NULL,
  created_at INTEGER NOT NULL
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, id);

-- All versions of the catalog, in parts, since a value in D1 has at most 2 MB.
CREATE TABLE catalogs (
  version INTEGER NOT NULL,
  part INTEGER NOT NULL,
  text TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (version, part)
) WITHOUT ROWID;

-- The audit trail: one chain for each tenant and one for the catalog. The primary key also orders
-- changes: if two changes follow the same entry, one of them fails.
CREATE TABLE audit (
  chain TEXT NOT NULL,
  number INTEGER NOT NULL,
  hash TEXT NOT NULL,
  entry TEXT NOT NULL,
  PRIMARY KEY (chain, number)
) WITHOUT ROWID;
CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- Publications, written in the same transaction as the change. Isolates also read them to learn
-- which snapshots are outdated.
CREATE TABLE publications (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL,        -- the key in KV
  epoch INTEGER NOT NULL,
  ledger TEXT,              -- the ledger that is notified first
  at INTEGER NOT NULL,
  done_at INTEGER,
  failures INTEGER NOT NULL DEFAULT 0,
  anew INTEGER NOT NULL DEFAULT 0  -- 1: an unchanged snapshot is published again
);
CREATE INDEX publications_by_key ON publications (key, number);
CREATE INDEX publications_open ON publications (anew, failures, number) WHERE done_at IS NULL;
CREATE INDEX publications_done ON publications (done_at) WHERE done_at IS NOT NULL;

-- Responses to admin requests with an idempotency key.
CREATE TABLE answers (
  actor TEXT NOT NULL,
  key TEXT NOT NULL,
  print TEXT NOT NULL,
  status INTEGER NOT NULL,
  body TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (actor, key)
) WITHOUT ROWID;
CREATE INDEX answers_by_time ON answers (at);

-- The provisioning of tenants, and its progress.
CREATE TABLE provisionings (
  tenant TEXT PRIMARY KEY,
  actor TEXT NOT NULL,
  key TEXT NOT NULL,
  print TEXT NOT NULL,
  step INTEGER NOT NULL,
  question TEXT NOT NULL,
  state TEXT NOT NULL,      -- running, done, failed
  problem TEXT,
  api_key TEXT,             -- the id of the tenant's first API key
  changed_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX provisionings_by_key ON provisionings (actor, key);
CREATE INDEX provisionings_running ON provisionings (changed_at) WHERE state = 'running';

-- Jobs, which resume at their cursor.
CREATE TABLE jobs (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  question TEXT NOT NULL,
  cursor TEXT NOT NULL DEFAULT '',
  total INTEGER NOT NULL,
  done INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL,      -- running, done
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
);
CREATE INDEX jobs_running ON jobs (created_at) WHERE state = 'running';

-- Unfinished moves between families, and the tenants that no other change may affect until then.
CREATE TABLE moves (
  tenant TEXT PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  question TEXT NOT NULL,
  begun_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
);
CREATE TABLE moving (tenant TEXT PRIMARY KEY, move TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE admin_tokens (
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL,
  name TEXT NOT NULL,
  permissions TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
);

-- Licences, whose id is the public part of the key, and the instances that use them.
CREATE TABLE licences (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  hash TEXT NOT NULL,
  terms TEXT NOT NULL,
  created_at INTEGER NOT NULL
);
CREATE INDEX licences_by_tenant ON licences (tenant, id);
CREATE TABLE activations (
  licence TEXT NOT NULL,
  instance TEXT NOT NULL,
  domain TEXT,
  activated_at INTEGER NOT NULL,
  PRIMARY KEY (licence, instance)
) WITHOUT ROWID;

-- Single-use support tickets.
CREATE TABLE tickets (
  hash TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  actor TEXT NOT NULL,
  scopes TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  used_at INTEGER
) WITHOUT ROWID;

-- The positions at which long sweeps resume.
CREATE TABLE cursors (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
