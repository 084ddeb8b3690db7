"""What the parts of a governed request cost, in instructions: `python -m bench.ledger`."""
