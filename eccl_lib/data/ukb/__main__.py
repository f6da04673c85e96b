"""``python -m eccl_lib.data.ukb``: the command that builds the store of UK Biobank's files."""

from eccl_lib.data.ingest.ukb import main

raise SystemExit(main())
