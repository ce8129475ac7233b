"""The PostgreSQL server for tests of services that share a store; see `pg_server`."""

from pg_server import own_pg_server, pg_server, pg_url

__all__ = ["own_pg_server", "pg_server", "pg_url"]
