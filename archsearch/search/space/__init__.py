"""Search spaces: the files, their expressions, and the mesh that they describe."""
