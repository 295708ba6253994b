"""The web page of a live run: its pictures, its controls, and who may see and use them."""

from stylecam.web.links import link_qr, make_token

__all__ = ["link_qr", "make_token"]
