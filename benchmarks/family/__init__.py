"""Queries and ops of other networks beside their straight forms."""
