"""The detector, under its former path, which cards of published models name: see :mod:`glass.predict.detector`."""

from glass.predict.detector import Detector

__all__ = ["Detector"]
