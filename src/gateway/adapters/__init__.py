"""Implementations of the ports: where usage records and log lines go when they leave the request path.

    worker:  Spool --- segment files ---> agent:  Shipper ---> SqliteLedger
    worker:  LogWriter ---> stdout

`app` constructs them and hands them in; nothing of the data plane imports this package.
"""
