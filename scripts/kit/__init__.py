"""The Python programs that ``scripts/gpu_kit.sh`` runs, and those that the ``run.sh`` beside its kit runs."""
