"""The built-in demo clip, drawn."""
