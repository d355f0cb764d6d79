-- 006 audit prune: the audit record ends where its owner says so, and says itself that it did.
--
--   Nobody deletes from it otherwise: the triggers of 003 refuse it to everybody.  To whoever owns this function they
--   stand aside for one statement; tally_broker, tally_worker and tally_reader cannot call it.

create function tally.prune_audit(older timestamptz, rows_max integer)
returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    pruned integer;
    last   bigint;
    noted  bigint;
begin
    if older is null or older > clock_timestamp() or coalesce(rows_max, 0) < 1 then
        raise exception using errcode = '22023', message = 'prune_audit needs a time that is over and a number of rows';
    end if;
    alter table tally.audit disable trigger only_added;
    alter table tally.audit_result disable trigger only_added;
    select max(id) into last from (select id from tally.audit where at < older order by id limit rows_max) a;
    delete from tally.audit_result where audit in (select id from tally.audit where id <= last and at < older);
    delete from tally.audit where id <= last and at < older;
    get diagnostics pruned = row_count;
    alter table tally.audit enable trigger only_added;
    alter table tally.audit_result enable trigger only_added;
    if pruned > 0 then
        insert into tally.audit (who, action, request)
        values ('db:' || session_user, 'audit.prune', json_build_object('older', older, 'rows', pruned)::text)
        returning id into noted;
        insert into tally.audit_result (audit, result) values (noted, 'OK');
    end if;
    return pruned;
end
$$;
revoke all on function tally.prune_audit from public;
