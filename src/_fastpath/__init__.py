"""Native kernels of the hot path. Each imports libc, cpython and the standard library only.

http1     HTTP/1.1 heads and chunked bodies, both directions (sans-IO)
jsonscan  duplicate keys, UTF-8, depth and top-level spans of a JSON body
cachekey  a key of 128 bits for what a JSON request asks, however it is spelt
chat      what governs a chat completion, and what its answer used, straight from the bytes
answer    what an answer produced, counted as it passes
usage     tokens of a call, and what they cost
tokens    exact token counts for OpenAI's encodings
sse       event boundaries, usage, finish reason and first content in a stream
shm       the node's shared memory: worker slots and their heartbeats
bucket    rates, concurrency and money of each scope, in the node's shared memory
metrics   counters and histograms in the node's shared memory
wheel     deadlines on a timer wheel; the clocks
writer    header lines and records, piece by piece
gather    a bounded list between the loop and a writing thread
edge      the HTTP/1.1 server protocol
upstream  the HTTP/1.1 client protocol
"""
