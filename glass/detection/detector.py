"""Makes the detector importable under its former path, which the cards of published models name.

It is now defined in :mod:`glass.predict.detector`.
"""

from glass.predict.detector import Detector

__all__ = ["Detector"]
