"""The book: README, docs, notebooks and API pages as a static site (``make book``)."""
