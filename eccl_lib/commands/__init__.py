"""The console script `eccl`: one module a command."""
