"""The PostgreSQL server that all tests here share; see `pg_server`."""

from pg_server import own_pg_server, pg_server, pg_url

__all__ = ["own_pg_server", "pg_server", "pg_url"]
