"""Load on any gateway, and what its callers see: `python -m bench load`.

    payloads    what is asked: built in, or a file of one's own
    session     what one process does: connections, the load, what is still to be answered
    crew        several processes that ask together
    run         a run, by one process or several
    result      the figures, and whether they may be trusted
    table       the figures for a terminal
    command     the command line

`bench.native.caller` asks and reads, `bench.native.histogram` counts.
"""
