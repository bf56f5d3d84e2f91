"""Static matplotlib figures."""
