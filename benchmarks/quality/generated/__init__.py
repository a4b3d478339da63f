"""Short generated clips, on which no network that ships may be worse than bicubic and blend: docs/quality.md."""
