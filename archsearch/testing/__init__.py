"""Test classes that check what an outsider brings: a family, a quality proxy, a storage."""
