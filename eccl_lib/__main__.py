"""``python -m eccl_lib``, the same as the console script ``eccl``."""

from eccl_lib.commands.cli import main

main()
