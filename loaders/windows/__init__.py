"""Sampling rules, which place the crops."""
