"""Model families: dimensions in, parameters, memory and op lists out."""
