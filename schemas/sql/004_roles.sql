-- 004 roles: what the database's roles need to be told apart; `tally db roles` makes them and gives each its rights.

-- tally.hold_lease: the lease's id while it is valid and has this message, its row kept until the caller's transaction
-- ends; no row otherwise.  For workers, who may look at leases and not lock them.
create function tally.hold_lease(lease bigint, message bigint)
returns setof bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    select l.id from tally.lease l
    where l.id = hold_lease.lease and hold_lease.message = any (l.messages) for share
$$;
revoke all on function tally.hold_lease from public;

-- reader: which tenants a database login may read.
create table tally.reader (
    login  name not null,
    tenant integer not null references tally.tenant (id),
    primary key (login, tenant)
);

-- tally.my_tenants: of whoever logged in.  The session's user, not the current one: that can be changed by SET ROLE.
create function tally.my_tenants()
returns setof integer
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select r.tenant from tally.reader r where r.login = session_user
$$;
revoke all on function tally.my_tenants from public;

-- Their names, with the numbers that the other tables have.
create view tally.my_tenant_names with (security_barrier) as
select t.id as tenant, t.name from tally.tenant t
where t.id in (select r.tenant from tally.reader r where r.login = session_user);
