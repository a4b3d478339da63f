"""Files in and out: sources, sinks, audio, colour, encoders, and what the names on disk mean."""
