"""The command `vinr`: one file a command, and main, which runs them."""
