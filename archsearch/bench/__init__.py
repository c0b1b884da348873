"""From silicon to coefficients: reading measurements, fitting kernel models, checking predictions."""
