"""The commands of ``python -m hpcm``, one module each; what prints in ``hpcm`` is here."""
