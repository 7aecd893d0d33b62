"""The programs of ``scripts/gpu_kit.sh`` and of the ``run.sh`` that it packs."""
