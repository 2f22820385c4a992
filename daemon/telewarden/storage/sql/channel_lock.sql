-- Who changes channels and who writes down how they are taken in wait for each other.
select pg_advisory_xact_lock(2116946479)
