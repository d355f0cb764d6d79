-- 005 worker keys: whose key a worker's number was given to, so that a broker's successor takes records and beats under
-- that number from the same key alone.  Written before the worker is welcomed; only where the broker knows peers by keys.

create table tally.worker_key (
    number bigint primary key,
    key    text not null
);
