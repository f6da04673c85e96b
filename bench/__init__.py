"""Speed and memory of the hot paths, each beside a naive or peer-style reference in the same run.

``make bench`` (``python -m bench``) runs every case and writes ``bench/results.json`` and the table of
``docs/performance.md``; ``python -m bench CASE...`` runs some and only prints, with ``--save`` it writes too.

A case is a file in ``bench/cases/`` with a ``CASE`` (``bench.harness.Case``): drop one in and it is run, saved and
shown. Its ``prepare(folder)`` makes the data in a temporary folder and returns either

- a ``Pair``: two functions that do the same work, ours and the reference's, and ``same``, which raises where their
  results differ. The harness calls ``same`` first, then times the two in turn (A B A B ...), five times each, and takes
  medians. Measures: ``ratio`` (reference to ours, CPU time), ``seconds`` and ``reference_seconds`` (of CPU, of one of
  ``per`` units), with ``memory=True`` also ``peak_mb`` and ``reference_peak_mb`` (above what was there before);
- or a dict of measures that the case took itself (``bench.harness.meter`` helps), for what is no pair.

``targets`` name measures: ``at_least("ratio", 10)``, ``at_most("seconds", 8e-3)``. CPU time, not clock:
it holds on a busy machine. A case with ``on_gpu`` targets has a second row, its name ended by ``_gpu``, which is
measured where there is a GPU: ``prepare(folder, "cuda")``, seconds of the clock until the device has finished, peaks of
its memory. Each case runs in a process of its own with the number of threads it states.

``bench/ingest.py`` and ``bench/bookkeeping.py`` are commands of their own: minutes to hours, at the paper's numbers.
"""
