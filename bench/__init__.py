"""Speed and memory of the main operations, each compared with a reference implementation in the same run.

``make bench`` (``python -m bench``) runs every case and writes ``bench/results.json`` and a table of
``docs/performance.md``; ``python -m bench CASE...`` runs some cases and only prints them; ``--save`` also writes them.

A case is a file in ``bench/cases/`` with a ``CASE`` (``bench.harness.Case``). A new file there is found, run, saved and
shown without further changes. Its ``prepare(folder)`` makes the data in a temporary folder and returns either

- a ``Pair``: two functions that do the same work, ours and the reference's, and ``same``, which raises an error if
  their results differ. The harness calls ``same`` first, then times the two alternately (A B A B ...), five times each,
  and takes medians. Measures: ``ratio`` (CPU time of the reference over ours), ``seconds`` and ``reference_seconds``
  (CPU time of one of ``per`` units); with ``memory=True`` also ``peak_mb`` and ``reference_peak_mb`` (above the memory
  in use before);
- or, if there is no pair, a dict of measures that the case took itself, usually with ``bench.harness.meter``.

``targets`` are bounds of measures: ``at_least("ratio", 10)``, ``at_most("seconds", 8e-3)``. They use CPU time, because
the load of the machine affects it less than wall-clock time. A case with ``on_gpu`` targets has a second row, whose
name ends in ``_gpu``. It is measured only on a machine with a GPU: with ``prepare(folder, "cuda")``, wall-clock time
until the device has finished, and the peak memory of the device. Each case runs in a process of its own with its number
of threads.

``bench/ingest.py`` and ``bench/bookkeeping.py`` are separate commands: with the paper's number of participants they
take minutes to hours.
"""
