"""Linear-Gaussian models of real glucose."""
