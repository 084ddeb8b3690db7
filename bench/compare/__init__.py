"""Gateways beside each other, each alone on the same core: `python -m bench compare`.

    peers       the table of what can be compared: how each is installed, configured, started and asked
    install     environments for peers, under a cache directory
    scenes      what is asked
    place       one peer that runs, on its core
    press       the load; all that knows which program makes it
    callers     an open loop, and a lone caller of streams
    streams     many callers of streams that stay
    experiment  turns: a fresh start, then every phase; rounds of turns
    samples     what a run has seen, as it is stored
    figures     from samples to figures; imports nothing of the above but samples
    terminal, html, svg   the report
    command     the command line

A gateway is added as a row of `peers.PEERS` and, where it needs a file, a template in `bench/conf`.
"""
