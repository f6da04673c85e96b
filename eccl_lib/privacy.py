"""``python -m eccl_lib.privacy``: an alias of ``eccl privacy``."""

import runpy
import sys

if __name__ == "__main__":
    print("python -m eccl_lib.privacy is now: eccl privacy", file=sys.stderr)
    sys.argv = ["eccl", "privacy", *sys.argv[1:]]
    runpy.run_module("eccl_lib", run_name="__main__")
