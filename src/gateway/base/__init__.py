"""Vocabulary that every floor shares: errors, context, snapshot, usage, ports, node. Imports nothing of the gateway."""
