"""One module a dialect of callers."""
