"""Keeps :mod:`glass.predict.detector` importable by its former path, which the cards of published models still use."""

from glass.predict.detector import Detector

__all__ = ["Detector"]
