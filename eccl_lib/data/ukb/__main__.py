"""``python -m eccl_lib.data.ukb``: an alias of ``eccl ingest ukb``."""

import runpy
import sys

print("python -m eccl_lib.data.ukb is now: eccl ingest ukb", file=sys.stderr)
sys.argv = ["eccl", "ingest", "ukb", *sys.argv[1:]]
runpy.run_module("eccl_lib", run_name="__main__")
