-- One row a broadcast: what is sent to whom. How far it has come is in its ranges.
create table broadcasts (
  -- A UUIDv7: newest first is by it.
  id uuid primary key,
  -- The token's sub.
  sender text collate "C" not null,
  status text not null default 'QUEUED' check (status in ('QUEUED', 'RUNNING', 'COMPLETED', 'CANCELLED', 'FAILED')),
  -- 0 LOW, 1 NORMAL, 2 HIGH, 3 CRITICAL.
  priority smallint not null,
  category text not null,
  -- JSON: the typed tree, compiled anew for each batch.
  segment text not null,
  -- JSON: the content, or the template as it was.
  source text not null,
  -- JSON objects as text, as in notifications.
  variables text,
  data text,
  expires_at timestamptz(3),
  -- Users in the segment when it was made.
  estimate int not null,
  created_at timestamptz(3) not null default now(),
  started_at timestamptz(3),
  finished_at timestamptz(3),
  error text
);
create index broadcasts_unfinished on broadcasts (priority desc, created_at, id) where finished_at is null;
create index broadcasts_finished on broadcasts (finished_at) where finished_at is not null;

-- A broadcast goes through the users by their ids, in ranges that nobody shares: each has a cursor, counters and a lease of
-- its own, so that workers side by side never wait for one row.
create table broadcast_ranges (
  broadcast_id uuid not null references broadcasts on delete cascade,
  nr smallint not null,
  -- Users up to this one have been dealt with.
  cursor text collate "C" not null,
  -- The last one of the range; null: to the end.
  last_id text collate "C",
  sent int not null default 0,
  failed int not null default 0,
  skipped int not null default 0,
  is_done boolean not null default false,
  -- Of whoever works on it; another may once the time is over.
  lease uuid,
  leased_until timestamptz,
  -- Batches that failed one after the other.
  attempts smallint not null default 0,
  -- Why one of the users could not be sent to.
  failure text,
  primary key (broadcast_id, nr)
) with (fillfactor = 50);

-- When the latest notifications from broadcasts came that a rate limit counts: as many as the limit at most, oldest first.
alter table inboxes add column broadcast_at timestamptz(3)[];
