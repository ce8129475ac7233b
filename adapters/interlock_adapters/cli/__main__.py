"""`python -m interlock_adapters.cli` is `interlock`."""

from interlock_adapters.cli import main

raise SystemExit(main())
