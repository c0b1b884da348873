"""Results as pages and files: what is shown first, as plain values, then the drawing, then the file."""
