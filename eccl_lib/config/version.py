"""The version of the package, here so that modules below the top of the package can read it."""

VERSION = "0.1.0"
