-- 001 broker: what tallyd promises, one table per noun.
--
--   Only tallyd writes here, except through tally.send, tally.settle and tally.hold_term, which run in the
--   transaction of whoever calls them.  The happy path of a message is one insert and one delete, never an
--   update.  Nothing is searched by state: the broker's memory is the index, these tables are read by
--   primary key and scanned once at start.
--
--   vacuum_truncate is off where ticks write: giving pages back at a table's end takes a lock that holds up a tick.

create schema tally;

-- which migrations this database has; written by whoever applies one, in the same transaction
create table tally.migration (
    version    integer primary key,
    name       text not null,
    applied_at timestamptz not null default now()
);

-- broker: one row.  The epoch grows with every start of a tallyd and is checked by each of its transactions,
-- so a broker that was replaced cannot write any more.
create table tally.broker (
    only_row   boolean primary key default true check (only_row),
    epoch      bigint not null default 0,
    instance   text not null default '',
    started_at timestamptz not null default now()
);
insert into tally.broker default values;

-- tick: a row per transaction of the broker, kept for a while.  A broker whose COMMIT got no answer looks
-- here, and then knows.  Rows and not one updated row: a snapshot held open elsewhere would let the chain
-- of old versions grow with every commit.
--   void: written by the broker that looked and did not find it.  From then on that tick can no longer commit, even when
--   its statements still sit in a buffer on their way to PostgreSQL.
create table tally.tick (
    epoch  bigint not null,
    number bigint not null,
    void   boolean not null default false,
    primary key (epoch, number)
);

create table tally.tenant (
    id           integer primary key,               -- given by the broker
    name         text not null unique check (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    weight       integer not null default 1 check (weight between 1 and 1000),
    messages_max bigint not null default 10000000,  -- pending; beyond: refused with BUSY
    bytes_max    bigint not null default 17179869184,
    leased_max   bigint not null default 1000000    -- messages leased at once
);

create table tally.queue (
    id             integer generated always as identity primary key,
    name           text not null unique check (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    visibility_ms  integer not null default 30000 check (visibility_ms between 100 and 43200000),
    failures_max   integer not null default 5 check (failures_max > 0),
    crashes_max    integer not null default 10 check (crashes_max > 0),
    retry_ms       integer not null default 200 check (retry_ms >= 0),      -- first back-off
    retry_ms_max   integer not null default 300000 check (retry_ms_max >= retry_ms),
    batch_max      integer not null default 256 check (batch_max between 1 and 1000),
    window_ms      bigint not null default 0 check (window_ms >= 0),        -- 0: no window
    window_count   integer not null default 0 check (window_count >= 0),    -- 0: by time alone
    exclusive      boolean not null default false,
    keep_blobs     boolean not null default false,
    result_kept_ms bigint not null default 3600000 check (result_kept_ms > 0),
    dedupe_kept_ms bigint not null default 86400000 check (dedupe_kept_ms > 0)
);

-- message: one row per accepted message; the row is the promise made to the client.
create table tally.message (
    tenant     integer not null,
    id         bigint not null,                     -- broker epoch << 40 | sequence: never repeats
    queue      integer not null,
    priority   smallint not null default 1,
    is_blob    boolean not null default false,      -- body is empty, its bytes are in tally.blob
    releases   boolean not null default false,      -- keeps the window of its queue and tenant open
    past_window boolean not null default false,     -- was released once; a retry does not wait again
    created_at timestamptz not null default now(),
    body       bytea not null,
    key        bytea,
    due        timestamptz,
    -- who asked for the result, null when nobody did
    sender     uuid,
    sequence   bigint,
    item       integer,
    -- written only when a delivery did not end well
    deliveries integer not null default 0,
    failures   integer not null default 0,
    crashes    integer not null default 0,
    batch_max  integer not null default 0,          -- redeliver with at most so many; 0: no limit
    history    text[],
    primary key (tenant, id)
) with (vacuum_truncate = false, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000);
alter table tally.message alter column body set storage external;

create table tally.blob (
    tenant integer not null,
    id     bigint not null,                         -- of its message
    body   bytea not null,
    primary key (tenant, id)
) with (vacuum_truncate = false, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000);
alter table tally.blob alter column body set storage external;

-- lease: one row per delivery.  Its id is the fencing token; settle names it alone, so it is the whole key.
-- toast_tuple_target: a lease of 1000 messages just fits into a page; compressing it costs ten times the insert.
create table tally.lease (
    id       bigint primary key,
    tenant   integer not null,
    queue    integer not null,
    worker   bigint not null,                       -- number of the worker's connection
    deadline timestamptz not null,                  -- by PostgreSQL's clock; the token is the fence, not this
    messages bigint[] not null
) with (vacuum_truncate = false, toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_cost_delay = 0);

-- term: who is the only worker of a queue for a tenant.  The epoch never goes back.
create table tally.term (
    queue       integer not null,
    tenant      integer not null,
    epoch       bigint not null,
    worker      bigint not null,
    worker_name text not null,
    elected_at  timestamptz not null default now(),
    primary key (queue, tenant)
);

-- inbox: messages sent by SQL, in the sender's own transaction; the broker moves them into message.
create table tally.inbox (
    id         bigint generated always as identity primary key,
    tenant     integer not null,
    queue      integer not null,
    priority   smallint not null,
    releases   boolean not null default false,
    due        timestamptz,
    key        bytea,
    body       bytea not null
) with (vacuum_truncate = false, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- sender: what of a sender's numbered sends was accepted: all up to last, except those missing.
create table tally.sender (
    id      uuid primary key,
    last    bigint not null,
    missing bigint[] not null default '{}',
    seen_at timestamptz not null default now()
) with (fillfactor = 50, vacuum_truncate = false);

create table tally.dedupe (
    tenant  integer not null,
    queue   integer not null,
    key     bytea not null,
    message bigint not null,
    until   timestamptz not null,
    primary key (tenant, queue, key)
);
create index dedupe_until on tally.dedupe (until);

create table tally.result (
    sender   uuid not null,
    sequence bigint not null,
    item     integer not null,
    tenant   integer not null,
    outcome  smallint not null,                     -- 1 done, 2 buried, 3 dropped
    body     bytea not null,
    until    timestamptz not null,
    primary key (sender, sequence, item)
);
create index result_until on tally.result (until);

create table tally.dead_letter (
    tenant     integer not null,
    id         bigint not null,
    queue      integer not null,
    priority   smallint not null,
    is_blob    boolean not null,
    created_at timestamptz not null,
    buried_at  timestamptz not null default now(),
    reason     text not null,
    history    text[] not null,
    deliveries integer not null,
    failures   integer not null,
    crashes    integer not null,
    key        bytea,
    sender     uuid,
    sequence   bigint,
    item       integer,
    body       bytea not null,
    primary key (tenant, id)
);

-- tally.tick_refused: ends a tick of a broker whose epoch is over, with TY005.  Every tick checks the epoch in the
-- statement that writes its own record, the first after the shared lock; only on a mismatch is this called.
create function tally.tick_refused(epoch bigint)
returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'TY005',
          message = format('broker epoch %s is over, another broker took over', epoch);
end
$$;
revoke all on function tally.tick_refused from public;

-- ---- functions for the transactions of others ---------------------------------------------------------

-- tally.send: a message in the caller's own transaction.
--   Raises TY003 when queue or tenant is unknown, TY004 when an argument is out of range.
create function tally.send_bytes(queue text, tenant text, body bytea, key bytea default null,
                                 delay interval default null, priority integer default 1,
                                 releases boolean default false)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    queue_id  integer := (select q.id from tally.queue q where q.name = send_bytes.queue);
    tenant_id integer := (select t.id from tally.tenant t where t.name = send_bytes.tenant);
begin
    if queue_id is null then
        raise exception using errcode = 'TY003', message = format('queue "%s" does not exist', queue),
              hint = 'see the view tally.queues';
    end if;
    if tenant_id is null then
        raise exception using errcode = 'TY003', message = format('tenant "%s" does not exist', tenant);
    end if;
    if body is null or octet_length(body) > 65536 or octet_length(key) > 200
       or octet_length(key) = 0 or priority not between 0 and 3 or priority is null
       or delay < interval '0' or delay > interval '366 days' then
        raise exception using errcode = 'TY004', message = 'an argument of tally.send is out of range',
              hint = 'body up to 65536 bytes, key 1 to 200 bytes, priority 0 to 3, delay 0 to 366 days';
    end if;
    insert into tally.inbox (tenant, queue, priority, releases, due, key, body)
    values (tenant_id, queue_id, priority, coalesce(releases, false), clock_timestamp() + delay, key, body);
end
$$;

create function tally.send(queue text, tenant text, body text, key text default null,
                           delay interval default null, priority integer default 1,
                           releases boolean default false)
returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
    select tally.send_bytes(queue, tenant, convert_to(body, 'UTF8'), convert_to(key, 'UTF8'), delay,
                            priority, releases)
$$;

-- tally.settle: ends messages of a lease for good, in the caller's own transaction.
--   messages null: all that are left of the lease.  results: one per message, in their order, for those who
--   asked; who asked and gets none here gets an empty one.  Raises TY001 when the lease is no longer valid:
--   the caller's writes must go with it, so let it roll back.
--   Its plans look rows up by primary key whatever the statistics say: a plan made while the tables were
--   almost empty stays in a session for long, and would read them from end to end.
create function tally.settle(lease bigint, messages bigint[] default null, results bytea[] default null)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    held  tally.lease;
    ids   bigint[];
    ended bigint;
begin
    select l.* into held from tally.lease l where l.id = settle.lease for update;
    if not found then
        raise exception using errcode = 'TY001', message = format('lease %s is no longer valid', lease),
              hint = 'its deadline passed or its worker was taken for dead; roll back, the work is done elsewhere';
    end if;
    ids := coalesce(messages, held.messages);
    if exists (select from unnest(results) r (body) where octet_length(r.body) > 16711680) then
        raise exception using errcode = 'TY004', message = 'a result is larger than 16711680 bytes';
    end if;
    -- set operations: a comparison of each with each would cost more than all the rest
    if messages is not null and exists (select unnest(ids) except select unnest(held.messages)) then
        raise exception using errcode = 'TY001',
              message = format('lease %s does not hold all of these messages any more', lease);
    end if;
    -- By ctid, each found by its key: a table that was empty when it was last looked at passes for one of a row,
    -- and any join with it may be planned as a scan of all that the tenant has pending.
    with gone as (
        delete from tally.message m
        where m.ctid = any (array(
            select p.ctid from unnest(ids) i (id)
            cross join lateral (select n.ctid from tally.message n
                                where n.tenant = held.tenant and n.id = i.id offset 0) p))
        returning m.id, m.queue, m.is_blob, m.sender, m.sequence, m.item
    ), gone_blob as (
        delete from tally.blob b
        where b.ctid = any (array(
            select p.ctid from gone g join tally.queue q on q.id = g.queue
            cross join lateral (select n.ctid from tally.blob n
                                where n.tenant = held.tenant and n.id = g.id offset 0) p
            where g.is_blob and not q.keep_blobs))
    ), kept as (
        insert into tally.result (sender, sequence, item, tenant, outcome, body, until)
        select g.sender, g.sequence, g.item, held.tenant, 1,
               coalesce(results[array_position(ids, g.id)], ''),
               clock_timestamp() + make_interval(secs => q.result_kept_ms / 1000.0)
        from gone g
        join tally.queue q on q.id = g.queue
        where g.sender is not null
        on conflict do nothing
    )
    select count(*) into ended from gone;
    if ended <> cardinality(ids) then
        raise exception using errcode = 'TY001',
              message = format('lease %s does not hold all of these messages any more', lease);
    end if;
    if ended = cardinality(held.messages) then
        delete from tally.lease l where l.id = held.id;
    else
        update tally.lease l
        set messages = array(select unnest(held.messages) except select unnest(ids) order by 1)
        where l.id = held.id;
    end if;
end
$$;

-- tally.hold_term: proves that the caller's term is the current one and keeps it so until the caller's
-- transaction ends.  Raises TY002 when it is not.
create function tally.hold_term(queue text, tenant text, epoch bigint)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    perform from tally.term t
    where t.queue = (select q.id from tally.queue q where q.name = hold_term.queue)
      and t.tenant = (select n.id from tally.tenant n where n.name = hold_term.tenant)
      and t.epoch = hold_term.epoch
    for share of t;
    if not found then
        raise exception using errcode = 'TY002',
              message = format('term %s of queue "%s" for tenant "%s" is over', epoch, queue, tenant),
              hint = 'another worker was elected; roll back';
    end if;
end
$$;

revoke all on function tally.send_bytes, tally.send, tally.settle, tally.hold_term from public;

-- ---- views for people ---------------------------------------------------------------------------------

create view tally.messages as
select m.id, q.name as queue, t.name as tenant,
       case when l.id is not null then 'leased' when m.due > clock_timestamp() then 'delayed'
            else 'ready' end as state,
       m.priority, m.created_at, m.due, m.deliveries, m.failures, m.crashes, octet_length(m.body) as bytes,
       l.id as lease, l.deadline
from tally.message m
join tally.queue q on q.id = m.queue
join tally.tenant t on t.id = m.tenant
left join (select l.id, l.deadline, unnest(l.messages) as message, l.tenant from tally.lease l) l
       on l.tenant = m.tenant and l.message = m.id;

create view tally.leases as
select l.id, q.name as queue, t.name as tenant, l.worker, l.deadline, cardinality(l.messages) as messages
from tally.lease l
join tally.queue q on q.id = l.queue
join tally.tenant t on t.id = l.tenant;

create view tally.queues as
select q.name, q.visibility_ms, q.exclusive, q.window_ms,
       (select count(*) from tally.message m where m.queue = q.id) as messages,
       (select coalesce(sum(cardinality(l.messages)), 0) from tally.lease l where l.queue = q.id) as leased,
       (select count(*) from tally.dead_letter d where d.queue = q.id) as dead
from tally.queue q;
