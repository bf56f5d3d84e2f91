"""Cooperative games over units: values and interactions of coalitions."""
