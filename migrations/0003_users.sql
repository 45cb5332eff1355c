-- Users as the sender knows them: whom a segment finds and a template greets. Sending needs none of it.
create table users (
  id text collate "C" primary key,
  name text,
  -- BCP 47, in its canonical case.
  locale text collate "C",
  -- IANA.
  time_zone text,
  attributes jsonb not null default '{}',
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz(3) not null default now()
);
-- For EQ, IN and CONTAINS of segments.
create index users_attributes on users using gin (attributes jsonb_path_ops);
