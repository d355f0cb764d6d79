-- 007 settle: a lease is of one queue, so its policy is looked up once, not for each message; blobs are looked for only
--   where there are some, and what the lease does not hold only when it was not asked for as a whole.
--
--   What tally.settle guarantees is as in 001.

create or replace function tally.settle(lease bigint, messages bigint[] default null, results bytea[] default null)
returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    held   tally.lease;
    policy tally.queue;
    ids    bigint[];
    blobs  bigint[];
    ended  bigint;
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
    if ids is distinct from held.messages and exists (select unnest(ids) except select unnest(held.messages)) then
        raise exception using errcode = 'TY001',
              message = format('lease %s does not hold all of these messages any more', lease);
    end if;
    select q.* into policy from tally.queue q where q.id = held.queue;
    -- By ctid, each found by its key: a table that was empty when it was last looked at passes for one of a row,
    -- and any join with it may be planned as a scan of all that the tenant has pending.
    with gone as (
        delete from tally.message m
        where m.ctid = any (array(
            select p.ctid from unnest(ids) i (id)
            cross join lateral (select n.ctid from tally.message n
                                where n.tenant = held.tenant and n.id = i.id offset 0) p))
        returning m.id, m.is_blob, m.sender, m.sequence, m.item
    ), kept as (
        insert into tally.result (sender, sequence, item, tenant, outcome, body, until)
        select g.sender, g.sequence, g.item, held.tenant, 1,
               coalesce(results[array_position(ids, g.id)], ''),
               clock_timestamp() + make_interval(secs => policy.result_kept_ms / 1000.0)
        from gone g
        where g.sender is not null
        on conflict do nothing
    )
    select count(*), array_agg(g.id) filter (where g.is_blob) into ended, blobs from gone g;
    if ended <> cardinality(ids) then
        raise exception using errcode = 'TY001',
              message = format('lease %s does not hold all of these messages any more', lease);
    end if;
    if blobs is not null and not policy.keep_blobs then
        delete from tally.blob b
        where b.ctid = any (array(
            select p.ctid from unnest(blobs) i (id)
            cross join lateral (select n.ctid from tally.blob n
                                where n.tenant = held.tenant and n.id = i.id offset 0) p));
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
