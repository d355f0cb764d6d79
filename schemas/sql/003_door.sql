-- 003 door: who may do what, and what operators did.
--
--   Keys are made and revoked by whoever administers this database, never over the broker's sockets: no verb of the
--   protocol can give a right.  tallyd reads tally.principal again when tally.door.version has changed.

alter table tally.tenant
    add column connections_max integer not null default 0 check (connections_max >= 0),   -- 0: no limit
    add column requests_max    integer not null default 0 check (requests_max >= 0);      -- a second; 0: no limit

-- Names of queues or tenants: {*} for all, else 1 to 1000 names.
create function tally.is_scope(names text[])
returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select names = '{*}' or (cardinality(names) between 1 and 1000 and array_ndims(names) = 1
           and not exists (select from unnest(names) n (name)
                           where n.name is null or n.name !~ '^[a-z0-9][a-z0-9._-]{0,63}$'))
$$;

-- principal: a public key, and what whoever has its secret half may do.
create table tally.principal (
    id         integer generated always as identity primary key,
    name       text not null check (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    key        text not null unique check (key ~ '^[]0-9a-zA-Z.:+=^!/*?&<>(){}@%$#[-]{40}$'),      -- Z85
    role       text not null check (role in ('client', 'worker', 'operator', 'monitor')),
    tenants    text[] not null check (tally.is_scope(tenants)),
    queues     text[] not null check (tally.is_scope(queues)),
    rights     text[] not null check (rights <@ '{send,ask,work,read,admin}'),
    not_after  timestamptz,
    made_at    timestamptz not null default now(),
    made_by    text not null default session_user,
    revoked_at timestamptz,
    revoked_by text,
    -- a lease may be of any tenant of its queue, so a worker's key cannot be kept to some
    constraint workers_see_all_tenants check (role <> 'worker' or tenants = '{*}'),
    constraint workers_alone_work check (not 'work' = any (rights) or role = 'worker'),
    constraint monitors_only_look check (role <> 'monitor' or rights <@ '{read}'),
    -- what is read and changed is of all queues of a tenant
    constraint looks_at_all_queues check (not rights && '{read,admin}' or queues = '{*}')
);
create unique index principal_name on tally.principal (name) where revoked_at is null;

-- door: one row.  Its version grows with each change of a principal, one transaction after the other.
create table tally.door (
    only_row boolean primary key default true check (only_row),
    version  bigint not null default 1
);
insert into tally.door default values;

-- audit: what operators asked for, before it is done; audit_result: what came of it.  Never changed, never deleted;
-- an action without a result was under way when its broker ended.
create table tally.audit (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default clock_timestamp(),
    who     text not null,
    key     text,                                     -- public, of the connection; null: a database session, or no CURVE
    action  text not null,                            -- "queue.put", "key.revoke"...
    request text not null
);
create table tally.audit_result (
    audit  bigint primary key references tally.audit,
    at     timestamptz not null default clock_timestamp(),
    result text not null                              -- "OK", or an error's code and text
);

create function tally.refuse_change()
returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'TY006', message = format('%I.%I is only ever added to', tg_table_schema, tg_table_name);
end
$$;
create trigger only_added before update or delete or truncate on tally.audit
    for each statement execute function tally.refuse_change();
create trigger only_added before update or delete or truncate on tally.audit_result
    for each statement execute function tally.refuse_change();

-- A key's history stays: it is revoked, never deleted, and nothing else of it changes.
create function tally.guard_principal()
returns trigger
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if old.revoked_at is not null or new.revoked_at is null
       or (old.id, old.name, old.key, old.role, old.tenants, old.queues, old.rights, old.not_after, old.made_at, old.made_by)
          is distinct from
          (new.id, new.name, new.key, new.role, new.tenants, new.queues, new.rights, new.not_after, new.made_at, new.made_by)
    then
        raise exception using errcode = 'TY006', message = 'a principal can be revoked, once, and not be changed otherwise';
    end if;
    return new;
end
$$;
create trigger only_revoked before update on tally.principal
    for each row execute function tally.guard_principal();
create trigger only_revoked_never_deleted before delete or truncate on tally.principal
    for each statement execute function tally.refuse_change();

create function tally.note_principal()
returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    noted bigint;
begin
    update tally.door set version = version + 1;
    insert into tally.audit (who, action, request)
    values ('db:' || session_user, case tg_op when 'INSERT' then 'key.new' else 'key.revoke' end,
            json_build_object('name', new.name, 'key', new.key, 'role', new.role, 'tenants', new.tenants,
                              'queues', new.queues, 'rights', new.rights, 'not_after', new.not_after)::text)
    returning id into noted;
    insert into tally.audit_result (audit, result) values (noted, 'OK');
    return null;
end
$$;
revoke all on function tally.note_principal, tally.guard_principal, tally.refuse_change from public;
create trigger noted after insert or update on tally.principal
    for each row execute function tally.note_principal();

create view tally.principals as
select p.name, p.role, p.tenants, p.queues, p.rights, p.key, p.not_after, p.made_at, p.revoked_at,
       case when p.revoked_at is not null then 'revoked' when p.not_after <= clock_timestamp() then 'expired'
            else 'live' end as state
from tally.principal p;

create view tally.audits as
select a.id, a.at, a.who, a.key, a.action, a.request, r.result, r.at as result_at
from tally.audit a
left join tally.audit_result r on r.audit = a.id;
