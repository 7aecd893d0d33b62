"""Saves a trained model as files, and records the rules and decoders that determine its pixels."""
