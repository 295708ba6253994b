"""stylecam: paint a webcam, a film or a photo in the manner of a painting, in real time."""

__version__ = "0.1.0"
