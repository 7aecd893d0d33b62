"""The detector, under the path that cards of published models name: see :mod:`glass.predict.detector`."""

from glass.predict.detector import Detector

__all__ = ["Detector"]
