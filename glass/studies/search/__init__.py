"""Hyper-parameter search with Optuna: space, plan, storage, record."""
