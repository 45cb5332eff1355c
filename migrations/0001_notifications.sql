-- One row: what belongs to this database as a whole.
create table carillon_state (
  only_row boolean primary key default true check (only_row),
  -- Random; names this history. Part of every cursor. `carillon rotate-epoch` changes it after a restore.
  epoch text not null default substr(md5(gen_random_uuid()::text), 1, 16),
  -- Signs cursors.
  cursor_key bytea not null default uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
  -- Rows created at or before this count nowhere and are shown nowhere: the sweeper has subtracted them.
  retained_from timestamptz(3) not null default '1970-01-01Z'
);
insert into carillon_state default values;

-- One narrow row a user. Whoever changes a user's log or its states locks this row first, in ascending order of user_id
-- where there are several. "C": the lock order must not depend on a locale.
create table inboxes (
  user_id text collate "C" primary key,
  last_created_at timestamptz(3) not null,
  -- Everything at or below is delivered, retracted, expired or archived: where a replay begins.
  delivered_created_at timestamptz(3) not null default '1970-01-01Z',
  -- Counts changes of states, which have no seq.
  state_version bigint not null default 0,
  last_seq int not null,
  delivered_seq int not null default 0,
  -- Of rows that are neither archived, retracted, swept nor past retained_from.
  undelivered int not null default 0,
  unseen int not null default 0,
  unread int not null default 0,
  has_devices boolean not null default false
) with (fillfactor = 60);

-- Every user's log, by week. Partitions are created ahead and dropped behind by the retention task; there is no default
-- partition, which would have to be scanned at each attach.
create table notifications (
  created_at timestamptz(3) not null,
  expires_at timestamptz(3),
  delivered_at timestamptz(3),
  seen_at timestamptz(3),
  read_at timestamptz(3),
  archived_at timestamptz(3),
  retracted_at timestamptz(3),
  id uuid not null,
  seq int not null,
  -- 0 LOW, 1 NORMAL, 2 HIGH, 3 CRITICAL.
  priority smallint not null,
  -- Expired, and taken out of the counters.
  swept boolean not null default false,
  user_id text collate "C" not null,
  category text not null,
  title text not null,
  body text,
  -- JSON as text: jsonb would reorder keys and fold duplicates.
  data text,
  url text,
  -- created_at before seq: within one log both order alike, and created_at chooses the partitions.
  primary key (user_id, created_at, seq)
) partition by range (created_at);
create index notifications_id on notifications (id);
-- Marks change no indexed column, so that acknowledging stays a heap-only update. This one changes with `swept` alone.
create index notifications_expiry on notifications (expires_at) where expires_at is not null and not swept;
create index notifications_created on notifications using brin (created_at) with (pages_per_range = 32, autosummarize = on);

create table idempotency_keys (
  -- The token's sub.
  sender text collate "C" not null,
  operation text collate "C" not null,
  key text collate "C" not null,
  user_id text collate "C" not null,
  -- SHA-256 of the validated input as canonical JSON.
  hash bytea not null,
  id uuid not null,
  at timestamptz not null default now(),
  primary key (sender, operation, key)
);
create index idempotency_keys_at on idempotency_keys (at);
