-- 002 surveys: the survey pipeline's own tables and queues.  Written by the typed workers in their own
-- transactions, which end with tally.settle.  The broker knows nothing of them.

insert into tally.tenant (id, name) values (1, 'tally');

insert into tally.queue (name, visibility_ms, batch_max) values
    ('survey', 10000, 16),              -- asks: put, ls, get; answered by the responses worker
    ('responses', 30000, 256),          -- blobs: a raw response each
    ('statistics-read', 10000, 16),     -- asks: show
    ('statistics-map', 30000, 4),       -- blocks of a recomputation
    ('export', 30000, 1),
    ('export-read', 10000, 16),
    ('heartbeat', 30000, 256);
insert into tally.queue (name, visibility_ms, batch_max, exclusive, window_ms) values
    ('statistics', 30000, 256, true, 600000);

create table tally.survey (
    tenant     integer not null,
    slug       text not null,
    id         integer generated always as identity unique,
    definition bytea not null,                      -- the JSON as it was put
    put_at     timestamptz not null default now(),
    primary key (tenant, slug)
);

-- response: a valid response, once per (tenant, survey, response_id).
create table tally.response (
    tenant      integer not null,
    survey      integer not null,                   -- tally.survey.id
    number      bigint generated always as identity,
    response_id text not null,
    body        bytea not null,                     -- the JSON as it was sent and validated
    primary key (tenant, survey, response_id)
);
create unique index response_number on tally.response (tenant, number);

-- statistic: one row per survey; state is the merged statistics (JSON).  While a recomputation runs,
-- since holds what was counted after it began.
create table tally.statistic (
    tenant     integer not null,
    survey     integer not null,
    state      bytea not null,
    since      bytea,
    recompute  bigint,                              -- the running one's id
    counted_at timestamptz not null default now(),
    primary key (tenant, survey)
);

-- recompute: one row per recomputation (id: of the message that asked).  partial: one row per block of each
-- phase; a phase's input is the responses' numbers (map) or the blocks before (reduce).
create table tally.recompute (
    tenant   integer not null,
    id       bigint not null,
    survey   integer,                               -- null: all surveys of the tenant
    block    integer not null,
    phase    integer not null,                      -- 0 map, then reduce 1, 2, ...
    blocks   integer not null,                      -- of this phase
    started_at timestamptz not null default now(),
    primary key (tenant, id)
);
create table tally.partial (
    tenant    integer not null,
    recompute bigint not null,
    phase     integer not null,
    block     integer not null,
    output    bytea not null,
    primary key (tenant, recompute, phase, block)
);

create table tally.export (
    tenant       integer not null,
    id           bigint not null,                   -- of the message that asked
    survey       text not null,
    format       text not null check (format in ('table', 'csv', 'ndjson')),
    target       text not null,                     -- file or table; empty: it never came so far
    state        text not null check (state in ('running', 'done', 'failed', 'cancelled')),
    rows_done    bigint not null default 0,
    rows_total   bigint not null default 0,
    until_number bigint not null default 0,         -- responses that came later are not part of it
    last_number  bigint not null default 0,         -- checkpoint: rows up to this response are out
    file_bytes   bigint not null default 0,         -- checkpoint: valid bytes of the file so far
    part         bigint,                            -- checkpoint: the lease whose part of the file that is
    definition   bytea,                             -- the survey's when it began; null once it ended
    sha256       text,
    error        text,
    requested_at timestamptz not null,
    started_at   timestamptz not null default now(),
    finished_at  timestamptz,
    primary key (tenant, id)
);

-- worker: the last ping of each worker process.
create table tally.worker (
    name       text primary key,
    role       text not null,
    pid        integer not null,
    host       text not null,
    started_at timestamptz not null,
    pinged_at  timestamptz not null,
    stopped    boolean not null default false,      -- it said so with its last ping: nobody misses it
    silent     boolean not null default false       -- an alert was published
);

-- null instead of an error: what clients send cannot make a view fail
create function tally.json_or_null(body bytea)
returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
    return convert_from(body, 'UTF8')::jsonb;
exception when others then
    return null;
end
$$;

-- An export is here from the moment its request is confirmed.  One whose message is no longer there, but in the
-- dead letters or dropped from them, will not go on: failed, whatever its last worker wrote.  A failed one whose
-- message is back was asked to try again.
create view tally.exports as
select t.name as tenant, e.id, e.survey, e.format, nullif(e.target, '') as target,
       case when e.state = 'running' and m.id is null then 'failed'
            when e.state = 'failed' and m.id is not null then 'queued' else e.state end as state,
       e.rows_done, e.rows_total, e.sha256,
       case when e.state = 'running' and m.id is null
            then coalesce(d.reason, e.error, 'its message was dropped') else e.error end as error,
       e.requested_at, e.started_at,
       case when e.state = 'running' and m.id is null then d.buried_at else e.finished_at end as finished_at,
       e.file_bytes as bytes
from tally.export e
join tally.tenant t on t.id = e.tenant
left join tally.message m on m.tenant = e.tenant and m.id = e.id
left join tally.dead_letter d on d.tenant = e.tenant and d.id = e.id
union all
select t.name, m.id, tally.json_or_null(m.body) ->> 'survey', tally.json_or_null(m.body) ->> 'format', null,
       'queued', 0, null, null, null, m.created_at, null, null, null
from tally.message m
join tally.tenant t on t.id = m.tenant
where m.queue = (select q.id from tally.queue q where q.name = 'export')
  and not exists (select from tally.export e where e.tenant = m.tenant and e.id = m.id)
union all
select t.name, d.id, tally.json_or_null(d.body) ->> 'survey', tally.json_or_null(d.body) ->> 'format', null,
       'failed', 0, null, null, d.reason, d.created_at, null, d.buried_at, null
from tally.dead_letter d
join tally.tenant t on t.id = d.tenant
where d.queue = (select q.id from tally.queue q where q.name = 'export')
  and not exists (select from tally.export e where e.tenant = d.tenant and e.id = d.id);

create view tally.workers as
select w.name, w.role, w.pid, w.host, w.started_at, w.pinged_at, w.silent, w.stopped from tally.worker w;
