"""Studies: run, stored, listed and resumed."""
