"""Native parts of the bench: built in a working tree, never shipped. Linux only.

agenda      deadlines of many, on one timer of the kernel
draw        seeded random numbers of a few distributions
provider    the server's side of a connection: a provider that plays prepared answers
"""
