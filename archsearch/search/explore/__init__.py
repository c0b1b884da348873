"""Ways through a space: enumeration, samplers, measured and trained objectives."""
