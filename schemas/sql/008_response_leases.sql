-- 008 response leases: larger, so that more responses share what a lease costs by itself: eight round trips, a commit,
--   a pointer and its counting.  A policy that somebody has set stays.

update tally.queue set batch_max = 512 where name = 'responses' and batch_max = 256;
