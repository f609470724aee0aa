"""Benchmarks: asyncstore beside its peers and the blocking calls, in CPU per operation.

Every measurement is one fresh process, so that no participant inherits another's threads, caches or allocator. The
participants take turns inside each round, in a shuffled order, and a table shows medians over the rounds: machines
are noisy, and a ratio of two medians from the same run holds when absolute figures do not. CPU is
``CLOCK_PROCESS_CPUTIME_ID``: all threads of the process, io_uring's included.

``python -m bench`` prints all tables; ``pytest bench`` runs the same cases under pytest-benchmark, in one process.
"""
