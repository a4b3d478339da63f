"""What networks of the family are built of."""
