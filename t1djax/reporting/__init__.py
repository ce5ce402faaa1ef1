"""Reports that people read in a browser."""
