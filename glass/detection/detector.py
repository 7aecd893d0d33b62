"""Keeps :mod:`glass.predict.detector` importable under its former path, which published model cards still use."""

from glass.predict.detector import Detector

__all__ = ["Detector"]
