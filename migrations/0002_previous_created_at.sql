-- When the notification before the last append was created: a doorbell tells it, so that who hears it knows what it follows
-- upon also where a backup was restored and numbers are given out again. Null before the first append to it.
alter table inboxes add column previous_created_at timestamptz(3);
