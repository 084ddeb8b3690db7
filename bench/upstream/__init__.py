"""A provider that plays a script: `python -m bench upstream`.

    script      what it plays: a file and options, checked
    dialects    what providers' answers, streams and errors look like
    plan        script and dialects -> answers that are ready to be written
    serve       sockets, processes, TLS
    command     the command line

`bench.native.provider` writes what is ready.
"""
