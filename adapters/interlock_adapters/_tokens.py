"""Tokens by which a repeat is known: most are a client's, and some are the adapters' own."""

from typing import Final

#: What those begin with that are ours: who took one would keep what it is for out.
OWN: Final = "interlock:"
