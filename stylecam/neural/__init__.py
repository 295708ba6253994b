"""Everything that needs torch: the nets, the losses, the trainer, the export.

Nothing on the live path imports this package; the command line does so on demand.
"""
