-- How much of its rate each sender has used up (CARILLON_SEND_RATE_PER_MINUTE). No row is a full bucket. Unlogged: it
-- costs no flush, and a crash or a failover that empties it only forgives.
create unlogged table send_rates (
  -- The token's sub.
  sender text collate "C" primary key,
  -- When the bucket is full again, the theoretical arrival time of GCRA. In no index, so that an update stays heap-only;
  -- the sweeper reads the whole table, which has the senders of about the last minute.
  full_at timestamptz not null,
  -- Tokens that the last statement got: before PostgreSQL 18, `returning` has no old row to tell it by.
  granted int not null
) with (fillfactor = 50);
