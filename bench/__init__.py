"""What a governed request costs beside nginx's bare `proxy_pass`, measured in the same run. `python -m bench --help`.

    scenarios   what is asked, and what the instant upstream answers
    servers     the processes that take part: upstream, yardstick, gateway; each started and always stopped here
    load        wrk, and its report
    proc        CPU seconds of processes, from /proc
    rounds      the experiment: warm-up, then rounds in which each target takes its turn
    figures     medians and ratios; imports nothing of the above
    progress    a bar for what takes a while
    table, page the report, for a terminal and for a browser
    compare     gateways beside each other, a package of its own

A new thing to measure is a `Scenario`; a new thing to compare with is a `Target` in `servers`.

Beside it, for any gateway:

    upstream    a mock provider that plays a script: `python -m bench upstream`
    client      load on any gateway, and what its callers see: `python -m bench load`
    native      what of these is compiled
"""
