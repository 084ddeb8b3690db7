"""The phases of a request. Siblings never import each other; `dataplane.pipeline` gives them their order.

authenticate  whose request it is
admit         whether it may, and what it takes from which limit
route         which target answers
transform     the bytes that the provider gets
upstream      a connection, and the bytes on it
relay         the provider's answer, to the caller
account       what it used, cost and took; always runs
"""
